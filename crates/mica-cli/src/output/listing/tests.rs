use super::*;
use serde_json::json;

const IMAGES: Listing<'static> = Listing {
    columns: &[
        Column { field: "Repository", header: "REPOSITORY" },
        Column { field: "Tag", header: "TAG" },
        Column { field: "Digest", header: "DIGEST" },
        Column { field: "ID", header: "IMAGE ID" },
        Column { field: "CreatedSince", header: "CREATED" },
        Column { field: "Size", header: "SIZE" },
    ],
    shown: &["Repository", "Tag", "ID", "CreatedSince", "Size"],
    quiet: "ID",
};

fn rows() -> Vec<Value> {
    let row = |repository: &str, id: &str, since: &str, size: &str| json!({"Repository": repository, "Tag": "latest", "Digest": "<none>", "ID": id, "CreatedSince": since, "Size": size});
    vec![
        row("busybox", "65ad0d468eb1", "2 years ago", "4.26MB"),
        row("debian-python-numpy", "3f2a9c41d07b", "About a minute ago", "1.36GB"),
    ]
}

fn print(rows: &[Value], format: &str, quiet: bool) -> String {
    let mut out = Vec::new();
    IMAGES.print(&mut out, rows, &format.parse().unwrap(), quiet).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_table_looks_as_dockers() {
    let table = "\
REPOSITORY            TAG       IMAGE ID       CREATED              SIZE
busybox               latest    65ad0d468eb1   2 years ago          4.26MB
debian-python-numpy   latest    3f2a9c41d07b   About a minute ago   1.36GB
";
    assert_eq!(print(&rows(), "table", false), table);
    assert_eq!(print(&rows(), "", false), table);
    assert_eq!(print(&[], "table", false), "REPOSITORY   TAG       IMAGE ID   CREATED   SIZE\n");
}

#[test]
fn a_template_chooses_the_columns_of_a_table() {
    for (format, printed) in [
        (r"table {{.ID}}\t{{.Tag}}", "IMAGE ID       TAG\n65ad0d468eb1   latest\n3f2a9c41d07b   latest\n"),
        (r"table {{upper .ID}} {{.Digest}}", "IMAGE ID DIGEST\n65AD0D468EB1 <none>\n3F2A9C41D07B <none>\n"),
        (r"table{{.Tag | json}}", "TAG\n\"latest\"\n\"latest\"\n"),
        (r"table {{truncate .ID 4}}", "IMAGE ID\n65ad\n3f2a\n"),
        (r#"table {{if eq .Size "1GB"}}a{{else}}{{.Tag}}{{end}}"#, "a\nlatest\nlatest\n"),
        (r#"table {{printf "%-8s|%s" .Tag .ID}}"#, "TAG     |IMAGE ID\nlatest  |65ad0d468eb1\nlatest  |3f2a9c41d07b\n"),
    ] {
        assert_eq!(print(&rows(), format, false), printed, "{format}");
    }
}

#[test]
fn labels_have_headers_of_their_own() {
    let rows = [json!({"ID": "1", "Labels": "a.b.stage=prod,x=y"})];
    assert_eq!(print(&rows, r#"table {{.ID}}\t{{.Label "a.b.stage"}}"#, false), "IMAGE ID   STAGE\n1          prod\n");
    assert_eq!(print(&rows, r#"{{.Label "x"}}{{.Label "none"}}"#, false), "y\n");
}

#[test]
fn a_template_prints_a_line_for_each_row() {
    assert_eq!(print(&rows(), r"{{.ID}}\t{{.Size}}", false), "65ad0d468eb1\t4.26MB\n3f2a9c41d07b\t1.36GB\n");
    assert_eq!(print(&[], "{{.ID}}", false), "");
}

#[test]
fn json_is_an_object_on_each_line() {
    let printed = print(&rows(), "json", false);
    let read: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read, rows());
    assert_eq!(print(&rows(), "{{json .}}", false), printed);
}

#[test]
fn quiet_prints_ids_and_yields_to_a_format() {
    assert_eq!(print(&rows(), "table", true), "65ad0d468eb1\n3f2a9c41d07b\n");
    assert_eq!(print(&rows(), "{{.Tag}}", true), "latest\nlatest\n");
    assert!(print(&rows(), "json", true).starts_with('{'));
}

#[test]
fn a_row_is_one_line_and_steers_nothing() {
    let rows = [json!({"Repository": "evil\nforged\trow\x1b[2J", "Tag": "t", "ID": "1"})];
    for (format, quiet) in
        [("table", false), ("table {{.Repository}}\t{{.ID}}", false), ("{{.Repository}}", false), ("{{json .}}", false)]
    {
        let printed = print(&rows, format, quiet);
        assert!(!printed.contains(['\x1b', '\t']), "{format}: {printed:?}");
        assert_eq!(printed.lines().count(), if format.starts_with("table") { 2 } else { 1 }, "{format}: {printed:?}");
    }
    assert_eq!(print(&rows, "{{.Repository}}", false), "evil\\nforged\\trow\\u{1b}[2J\n");
    assert_eq!(print(&rows, "{{println .ID .Tag}}", false), "1 t\n\n");
}

#[test]
fn an_unknown_field_is_told_with_the_known_ones() {
    for rows in [rows(), Vec::new()] {
        for format in ["{{.Nmae}}", "table {{.Nmae}}"] {
            let error = IMAGES.print(&mut Vec::new(), &rows, &format.parse().unwrap(), false).unwrap_err();
            let known = "there are Repository, Tag, Digest, ID, CreatedSince, Size";
            assert_eq!(error.to_string(), format!("template column 3: no field \"Nmae\"; {known}"));
        }
    }
}

#[test]
fn a_format_that_is_none_is_refused() {
    let told = |format: &str| format.parse::<Format>().unwrap_err().to_string();
    assert_eq!(
        told("yaml"),
        "no format \"yaml\"; there are table, json, and templates such as {{.ID}} or table {{.ID}}"
    );
    assert_eq!(told("{{.ID"), "template column 1: \"{{\" is not closed by \"}}\"");
}

/// Takes nothing.
struct Failing(io::ErrorKind);

impl Write for Failing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_a_full_disk_is() {
    let print = |kind| IMAGES.print(&mut Failing(kind), &rows(), &Format::Json, false);
    assert!(print(io::ErrorKind::BrokenPipe).is_ok());
    assert!(matches!(print(io::ErrorKind::StorageFull), Err(ListingError::Write(_))));
}
