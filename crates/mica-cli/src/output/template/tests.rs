use super::*;
use serde_json::json;

fn container() -> Value {
    json!({
        "Id": "65ad0d468eb1c558",
        "Name": "wild_Ant",
        "Size": 1_360_000_000_u64,
        "Running": true,
        "Ratio": 0.5,
        "Nothing": null,
        "Config": {"Env": ["A=1", "B=2"], "Labels": {"com.x.y": "label", "b": "2"}, "Cmd": null, "User": ""},
        "Ports": {"80/tcp": [{"HostPort": "8080"}], "22/tcp": []},
        "Mounts": [{"Source": "/a", "RW": true}, {"Source": "/b", "RW": false}],
    })
}

fn render(template: &str) -> String {
    let parsed = Template::parse(template).unwrap_or_else(|error| panic!("{template}: {error}"));
    parsed.render(&container(), Controls::Raw).unwrap_or_else(|error| panic!("{template}: {error}"))
}

fn check(cases: &[(&str, &str)]) {
    for (template, text) in cases {
        assert_eq!(render(template), *text, "{template}");
    }
}

#[test]
fn fields_print_as_in_go() {
    check(&[
        ("", ""),
        ("text } { only", "text } { only"),
        ("{{.Id}}", "65ad0d468eb1c558"),
        ("{{ .Name }} has {{.Size}}", "wild_Ant has 1360000000"),
        ("{{.Running}} {{.Ratio}}", "true 0.5"),
        ("{{.Config.Env}}", "[A=1 B=2]"),
        ("{{.Config.Labels}}", "map[b:2 com.x.y:label]"),
        ("{{.Config}}", "map[Cmd:<nil> Env:[A=1 B=2] Labels:map[b:2 com.x.y:label] User:]"),
        ("{{.Nothing}} {{.Config.Missing}} {{.Config.Missing.More}}", "<no value> <no value> <no value>"),
        ("{{$.Id}} {{(index .Mounts 1).Source}}", "65ad0d468eb1c558 /b"),
        ("{{.ID}}", "65ad0d468eb1c558"),
        (r"a\tb\n{{.Name}}", "a\tb\nwild_Ant"),
        (r#"{{"a\t\"b\""}}{{`\n`}}{{42}}{{-7}}{{true}}"#, "a\t\"b\"\\n42-7true"),
    ]);
}

#[test]
fn functions_do_as_in_go_and_docker() {
    check(&[
        ("{{json .Config.Env}}", r#"["A=1","B=2"]"#),
        ("{{.Mounts | json}}", r#"[{"Source":"/a","RW":true},{"Source":"/b","RW":false}]"#),
        ("{{json .Config.Missing}} {{json \"<&>\"}}", "null \"<&>\""),
        ("{{upper .Name}} {{.Name | lower | title}} {{title \"a b-c it's 4x\"}}", "WILD_ANT Wild_ant A B-C It'S 4x"),
        ("{{len .Config.Env}} {{len .Name}} {{len .Ports}} {{len .Config.Cmd}}", "2 8 2 0"),
        ("{{join .Config.Env \", \"}}|{{.Config.Env | join \";\"}}|{{join .Config.Cmd \" \"}}", "A=1, B=2|A=1;B=2|"),
        ("{{split \"a,b\" \",\"}} {{index (split .Name \"_\") 1}} {{.Name | split \"_\"}}", "[a b] Ant [wild Ant]"),
        (
            "{{index .Config.Labels \"com.x.y\"}}|{{index .Config.Labels \"none\"}}|{{index .Config.Cmd \"x\"}}",
            "label||",
        ),
        ("{{index .Config.Env 1}} {{index .Ports \"80/tcp\" 0}}", "B=2 map[HostPort:8080]"),
        ("{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "8080"),
        ("{{print 1 2 \"a\" 3 4}} {{print .Name .Id}}", "1 2a3 4 wild_Ant65ad0d468eb1c558"),
        ("{{println .Name 1}}", "wild_Ant 1\n"),
        ("{{printf \"%s %v\" .Name .Config.Env}}", "wild_Ant [A=1 B=2]"),
        (
            "{{printf \"[%-10s|%10s|%.4s|%5d|%q|%%]\" .Name .Name .Id 42 .Name}}",
            "[wild_Ant  |  wild_Ant|65ad|   42|\"wild_Ant\"|%]",
        ),
        ("{{.Id | printf \"%.3s-%s\" .Name}}", "wil-65ad0d468eb1c558"),
        (
            "{{truncate .Id 5}} {{slice .Id 0 4}} {{slice .Config.Env 1}}|{{pad .Name 1 2}}|",
            "65ad0 65ad [B=2]| wild_Ant  |",
        ),
        ("{{eq .Name \"x\" \"wild_Ant\"}} {{ne .Size 1}} {{eq 1 1.0}}", "true true true"),
        ("{{lt 1 2}} {{ge \"b\" \"a\"}} {{gt .Size 1e3}} {{le 2 1}}", "true true true false"),
        ("{{and 1 0 2}} {{or \"\" .Name}} {{not .Running}}", "0 wild_Ant false"),
    ]);
}

#[test]
fn blocks_do_as_in_go() {
    check(&[
        ("{{range .Config.Env}}<{{.}}>{{end}}", "<A=1><B=2>"),
        ("{{range .Mounts}}{{.Source}}{{if .RW}}:rw{{else}}:ro{{end}} {{end}}", "/a:rw /b:ro "),
        ("{{range $i, $e := .Config.Env}}{{$i}}{{$e}} {{end}}", "0A=1 1B=2 "),
        ("{{range $p, $c := .Ports}}{{$p}}={{len $c}} {{end}}", "22/tcp=0 80/tcp=1 "),
        ("{{range $k, $v := .Config}}{{$k}} {{end}}", "Cmd Env Labels User "),
        ("{{range .Config.Cmd}}x{{else}}none{{end}}", "none"),
        ("{{range $x := .Mounts}}{{$x.Source}}{{$.Name}}{{end}}", "/awild_Ant/bwild_Ant"),
        ("{{if .Config.User}}a{{else if .Running}}b{{else}}c{{end}}", "b"),
        ("{{if .Config.User}}a{{else if .Config.Cmd}}b{{else}}c{{end}}", "c"),
        ("{{if not .Config.Missing}}x{{end}}", "x"),
        ("{{with .Config}}{{.Env}}{{end}}{{with .Config.User}}x{{else}}{{.Name}}{{end}}", "[A=1 B=2]wild_Ant"),
        ("{{with $x := .Name}}{{$x}}{{.}}{{end}}", "wild_Antwild_Ant"),
        ("{{$x := .Name}}{{$x | upper}}", "WILD_ANT"),
        ("{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"),
        ("{{/* a }} comment */}}x", "x"),
        ("a {{- .Running -}} b {{- /* c */ -}} d", "atruebd"),
        ("a {{-7}}", "a -7"),
        ("{{range .Config.Env -}} \\n {{.}} {{- end}}", "A=1B=2"),
    ]);
}

#[test]
fn numbers_print_as_in_go() {
    for (number, text) in [
        (json!(3), "3"),
        (json!(u64::MAX), "18446744073709551615"),
        (json!(1.0), "1"),
        (json!(-2.25), "-2.25"),
        (json!(1e20), "100000000000000000000"),
        (json!(1e21), "1e+21"),
        (json!(0.0001), "0.0001"),
        (json!(0.000_012_5), "1.25e-05"),
        (json!(0.0), "0"),
    ] {
        assert_eq!(show(&number, Controls::Raw), text);
    }
}

#[test]
fn a_template_that_is_none_is_told_with_its_place() {
    for (template, told) in [
        ("a{{.Id", "template column 2: \"{{\" is not closed by \"}}\""),
        ("ü{{/* x", "template column 4: a comment is not closed by \"*/\""),
        ("{{if .Id}}x", "template column 1: a block is not closed by {{end}}"),
        ("{{range .A}}{{else}}", "template column 1: a block is not closed by {{end}}"),
        ("x{{end}}", "template column 2: \"end\" outside of if, with and range"),
        ("{{if .A}}{{else}}{{else}}{{end}}", "template column 18: a second else"),
        ("{{.Id .Name}}", "template column 3: a function is expected before arguments"),
        ("{{json .Id | .Name}}", "template column 14: only a function takes what is piped"),
        ("{{}}", "template column 1: a value is expected, not the end"),
        ("{{json (.Id}}", "template column 8: \"(\" is not closed by \")\""),
        ("{{.Id)}}", "template column 6: nothing more is expected here"),
        ("{{\"a}}", "template column 3: a string is not closed by '\"'"),
        ("{{\"a\\x\"}}", "template column 5: unknown escape in a string; there are \\n, \\t, \\r, \\\" and \\\\"),
        ("{{$x}}", "template column 3: the variable $x is not set"),
        ("{{if true}}{{$x := 1}}{{end}}{{$x}}", "template column 32: the variable $x is not set"),
        ("{{if $x := 1}}{{else if 1}}{{end}}{{$x}}", "template column 37: the variable $x is not set"),
        ("{{12ab}}", "template column 3: \"12ab\" is not a number"),
        ("{{.Id & 1}}", "template column 7: unexpected '&'"),
        (
            "{{json upper .Id}}",
            "template column 8: a value is expected, not \"upper\"; put a function with its arguments into parentheses",
        ),
    ] {
        assert_eq!(Template::parse(template).unwrap_err().to_string(), told, "{template}");
    }
    let error = Template::parse("{{jsn .}}").unwrap_err().to_string();
    assert!(error.starts_with("template column 3: no function \"jsn\"; the functions are and, eq, ge,"), "{error}");
    let deep = "{{".to_owned() + &"(".repeat(100_000) + "}}";
    assert!(Template::parse(&deep).unwrap_err().to_string().contains("nest deeper"));
    let deep = "{{if 1}}".repeat(100_000);
    assert!(Template::parse(&deep).unwrap_err().to_string().contains("nest deeper"));
}

#[test]
fn a_template_that_does_not_fit_is_told_with_its_place() {
    for (template, told) in [
        (
            "{{.Nmae}}",
            "template column 3: no field \"Nmae\"; there are Id, Name, Size, Running, Ratio, Nothing, Config, Ports, Mounts",
        ),
        ("{{.Name.First}}", "template column 3: a string has no field \"First\""),
        ("x{{upper .Size}}", "template column 4: upper: wants a string, not a number"),
        ("{{upper}}", "template column 3: upper: wants 1 arguments, not 0"),
        ("{{slice .Id 1 2 3}}", "template column 3: slice: wants 1 to 3 arguments, not 4"),
        ("{{slice .Id 4 2}}", "template column 3: slice: the bounds do not fit a length of 16"),
        ("{{index .Mounts 2}}", "template column 3: index: 2 is not an index of a list of 2"),
        ("{{index .Mounts \"a\"}}", "template column 3: index: a list is indexed by a number, not by a string"),
        ("{{len .Size}}", "template column 3: len: a number has no length"),
        ("{{lt .Name 1}}", "template column 3: lt: a string and a number have no order"),
        ("{{printf \"%s\"}}", "template column 3: printf: has fewer values than verbs"),
        ("{{printf \"a\" 1}}", "template column 3: printf: has more values than verbs"),
        ("{{printf \"%z\" 1}}", "template column 3: printf: unknown verb %z; there are %s, %v, %d, %q and %%"),
        ("{{range .Name}}{{end}}", "template column 9: range wants a list or a map, not a string"),
    ] {
        let error = Template::parse(template).unwrap().render(&container(), Controls::Raw).unwrap_err();
        assert_eq!(error.to_string(), told, "{template}");
    }
}

#[test]
fn only_what_comes_from_the_data_is_escaped() {
    let row = json!({"X": "a\n\x1b", "L": ["b\t"], "M": {"k\r": 1}});
    for (template, raw, escaped) in [
        ("{{.X}}", "a\n\x1b", "a\\n\\u{1b}"),
        ("{{upper .X}}", "A\n\x1b", "A\\n\\u{1b}"),
        ("{{println .X}}", "a\n\x1b\n", "a\\n\\u{1b}\n"),
        ("{{printf \"%s\\t%v\" .X .L}}", "a\n\x1b\t[b\t]", "a\\n\\u{1b}\t[b\\t]"),
        ("{{printf .X}}", "a\n\x1b", "a\\n\\u{1b}"),
        ("{{join .L \"\\n\"}}", "b\t", "b\\t"),
        ("{{.M}}{{range $k, $v := .M}}{{$k}}{{end}}", "map[k\r:1]k\r", "map[k\\r:1]k\\r"),
        ("{{index (split .X \"a\") 1}}", "\n\x1b", "\\n\\u{1b}"),
        ("{{json .X}}", "\"a\\n\\u001b\"", "\"a\\n\\u001b\""),
    ] {
        let parsed = Template::parse(template).unwrap();
        assert_eq!(parsed.render(&row, Controls::Raw).unwrap(), raw, "{template}");
        assert_eq!(parsed.render(&row, Controls::Escaped).unwrap(), escaped, "{template}");
    }
}

#[test]
fn names_that_differ_by_case_alone_are_told_apart() {
    let row = json!({"id": 1, "ID": 2, "Os": 3});
    let render = |template: &str| Template::parse(template).unwrap().render(&row, Controls::Raw);
    assert_eq!(render("{{.id}} {{.ID}} {{.OS}}").unwrap(), "1 2 3");
    assert!(matches!(render("{{.Id}}"), Err(TemplateError::NoField { .. })));
}
