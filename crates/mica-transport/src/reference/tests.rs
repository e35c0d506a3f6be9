use proptest::prelude::*;

use super::*;

const HEX: &str = "d366a4665ab44f0648d7a00ae3fae139d55e32f9712c67accd604bb55df9d05a";

#[test]
fn short_names_are_completed_and_shown_short_again() {
    let pinned = format!("busybox@sha256:{HEX}");
    let both = format!("busybox:1.36@sha256:{HEX}");
    // typed, canonical, familiar
    let table = [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        (&pinned, &format!("docker.io/library/{pinned}"), &pinned),
        (&both, &format!("docker.io/library/{both}"), &both),
        ("library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/me/tool:1", "docker.io/me/tool:1", "me/tool:1"),
        ("me/tool", "docker.io/me/tool:latest", "me/tool:latest"),
        ("me/deep/tool", "docker.io/me/deep/tool:latest", "me/deep/tool:latest"),
        ("library/deep/tool", "docker.io/library/deep/tool:latest", "library/deep/tool:latest"),
        ("quay.io/fedora/fedora:41", "quay.io/fedora/fedora:41", "quay.io/fedora/fedora:41"),
        ("localhost/tool", "localhost/tool:latest", "localhost/tool:latest"),
        ("localhost:5000/tool:a", "localhost:5000/tool:a", "localhost:5000/tool:a"),
        ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
        ("host:5000/tool", "host:5000/tool:latest", "host:5000/tool:latest"),
        ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest", "127.0.0.1:5000/a/b:latest"),
        ("[2001:db8::1]:5000/a", "[2001:db8::1]:5000/a:latest", "[2001:db8::1]:5000/a:latest"),
        ("[::1]/a", "[::1]/a:latest", "[::1]/a:latest"),
        ("xn--n3h.com/a:xn--n3h.com", "xn--n3h.com/a:xn--n3h.com", "xn--n3h.com/a:xn--n3h.com"),
        ("HOST/a", "HOST/a:latest", "HOST/a:latest"),
        ("a.b/c", "a.b/c:latest", "a.b/c:latest"),
        ("a__b/c--d_e.f", "docker.io/a__b/c--d_e.f:latest", "a__b/c--d_e.f:latest"),
        ("a:_Tag.1-x", "docker.io/library/a:_Tag.1-x", "a:_Tag.1-x"),
        // What would mean something else when short stays long.
        ("docker.io/localhost/a", "docker.io/localhost/a:latest", "docker.io/localhost/a:latest"),
        ("docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c:latest"),
    ];
    for (typed, canonical, familiar) in table {
        let read = Reference::parse(typed).unwrap_or_else(|error| panic!("{typed}: {error}"));
        assert_eq!(read.to_string(), canonical, "{typed}");
        assert_eq!(read.familiar(), familiar, "{typed}");
        assert_eq!(Reference::parse(canonical).unwrap(), read, "{typed}");
        assert_eq!(Reference::parse(familiar).unwrap(), read, "{typed}");
    }
}

#[test]
fn each_wrong_part_is_named() {
    let long = "a".repeat(256);
    let long_host = format!("{}.b/c", "a".repeat(254));
    let deep = format!("{}b", "a/".repeat(128));
    // typed, what the message must say
    let table = [
        ("", "is empty"),
        (":latest", "no repository name"),
        ("docker.io/", "no repository name"),
        ("quay.io/:a", "no repository name"),
        (&format!("@sha256:{HEX}"), "no repository name"),
        ("Busybox", "must be lower-case"),
        ("quay.io/Me/tool", "must be lower-case"),
        ("docker.io/BUSYBOX:a", "must be lower-case"),
        (HEX, "image ID"),
        (&format!("{HEX}@sha256:{HEX}"), "image ID"),
        ("a//b", "\"\""),
        ("a/b/", "\"\""),
        ("/a", "\"\""),
        ("a/-b", "\"-b\""),
        ("a/b-", "\"b-\""),
        ("_a/b", "\"_a\""),
        ("a/b___c", "\"b___c\""),
        ("a/b_.c", "\"b_.c\""),
        ("a/b..c", "\"b..c\""),
        ("a b", "\"a b\""),
        ("a/\u{e9}", "\u{e9}"),
        ("a\nb", "\"a\\nb\""),
        ("../../etc/passwd", "\"..\""),
        ("docker.io/../x", "\"..\""),
        ("docker://quay.io/a", "\"docker:\""),
        ("-a.com/b", "\"-a.com\""),
        ("a..com/b", "\"a..com\""),
        ("a.com:/b", "\"a.com:\""),
        ("a.com:80x/b", "\"a.com:80x\""),
        ("a.com:80:90/b", "\"a.com:80:90\""),
        ("[fe80::1%eth0]:5000/a", "\"[fe80::1%eth0]:5000\""),
        ("[::1/a", "\"[::1\""),
        ("[]:1/a", "\"[]:1\""),
        ("a:", "\"\" is not a tag"),
        ("a:.b", "\".b\" is not a tag"),
        ("a:-b", "\"-b\" is not a tag"),
        ("a:b/c", "\"a:b\" is not a registry host"),
        ("quay.io/a:b/c", "\"b/c\" is not a tag"),
        ("a:b:c", "\"b:c\" is not a tag"),
        (&format!("a:{}", "t".repeat(129)), "is not a tag"),
        (&long, "at most 255"),
        (&deep, "at most 255"),
        (&long_host, "at most 255"),
        ("a@", "no algorithm"),
        ("a@sha256:abc", "64 lower-case hex"),
        (&format!("a@sha256:{}", HEX.to_uppercase()), "64 lower-case hex"),
        (&format!("a@sha512:{HEX}{HEX}"), "\"sha512\""),
        (&format!("a@sha256:{HEX}:tag"), "64 lower-case hex"),
    ];
    for (typed, says) in table {
        let error = Reference::parse(typed).expect_err(typed);
        let chain = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        assert!(chain.contains(says), "{typed:?} gave {chain:?}, which does not say {says:?}");
        assert!(!chain.contains('\n'), "{typed:?} gave more than one line");
    }
}

#[test]
fn the_longest_allowed_parts_are_taken() {
    assert!(Reference::parse(&format!("quay.io/{}", "a".repeat(255))).is_ok());
    assert!(Reference::parse(&format!("a:{}", "t".repeat(128))).is_ok());
}

#[test]
fn a_tag_can_be_exchanged() {
    let read = Reference::parse(&format!("quay.io/a/b@sha256:{HEX}")).unwrap();
    assert_eq!(read.tag(), None);
    assert_eq!(read.digest().map(BlobDigest::hex).as_deref(), Some(HEX));
    let tagged = read.with_tag("v1").unwrap();
    assert_eq!(tagged.to_string(), "quay.io/a/b:v1");
    assert_eq!((tagged.domain(), tagged.path(), tagged.tag()), ("quay.io", "a/b", Some("v1")));
    assert!(matches!(read.with_tag("a b"), Err(ReferenceError::Tag { .. })));
}

#[test]
fn json_carries_the_canonical_form() {
    let read = Reference::parse("busybox").unwrap();
    let json = serde_json::to_string(&read).unwrap();
    assert_eq!(json, "\"docker.io/library/busybox:latest\"");
    assert_eq!(serde_json::from_str::<Reference>(&json).unwrap(), read);
    assert!(serde_json::from_str::<Reference>("\"A\"").is_err());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_and_what_is_read_prints_back(text in "\\PC{0,80}|[a-zA-Z0-9./:@_\\-\\[\\]]{0,40}") {
        if let Ok(read) = Reference::parse(&text) {
            prop_assert_eq!(&Reference::parse(&read.to_string()).unwrap(), &read);
            prop_assert_eq!(&Reference::parse(&read.familiar()).unwrap(), &read);
            prop_assert!(read.tag().is_some() || read.digest().is_some());
        }
    }

    #[test]
    fn whatever_the_grammar_makes_is_read(
        domain in proptest::option::of("(localhost|[a-z0-9]{1,8}\\.[a-z]{2,3})(:[0-9]{1,5})?"),
        path in "[a-z0-9]{1,9}((_|__|\\.|-{1,3})[a-z0-9]{1,5}){0,2}(/[a-z0-9]{1,9}){0,3}",
        tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.\\-]{0,20}"),
        pinned in any::<bool>(),
    ) {
        let mut text = String::new();
        if let Some(domain) = &domain { text.push_str(&format!("{domain}/")); }
        text.push_str(&path);
        if let Some(tag) = &tag { text.push_str(&format!(":{tag}")); }
        if pinned { text.push_str(&format!("@sha256:{HEX}")); }
        // A first component with a dot is a domain of its own.
        let first = path.split('/').next().unwrap();
        prop_assume!(domain.is_some() || !(path.contains('/') && (first.contains('.') || first == "localhost")));
        let read = Reference::parse(&text).unwrap();
        prop_assert!(read.path().ends_with(&path));
        prop_assert_eq!(read.domain(), domain.as_deref().unwrap_or("docker.io"));
        prop_assert_eq!(read.tag(), tag.as_deref().or((!pinned).then_some("latest")));
    }
}
