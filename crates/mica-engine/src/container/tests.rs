use super::*;

fn list(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

fn asked(command: &[&str], entrypoint: Option<&str>) -> Create {
    Create {
        image: "x".to_owned(),
        command: list(command),
        name: None,
        env: list(&["B=2", "A=3"]),
        workdir: None,
        user: None,
        hostname: None,
        entrypoint: entrypoint.map(str::to_owned),
        network: Network::None,
        tty: false,
        read_only: false,
        remove: false,
        driver: None,
    }
}

#[test]
fn commands_and_entrypoints_replace_what_docker_lets_them_replace() {
    let image = ContainerConfig {
        entrypoint: Some(list(&["/init"])),
        cmd: Some(list(&["serve"])),
        env: list(&["A=1"]),
        ..ContainerConfig::default()
    };
    for (command, entrypoint, whole) in [
        (&[][..], None, &["/init", "serve"][..]),
        (&["sh"], None, &["/init", "sh"]),
        (&["-c", "x"], Some("/bin/sh"), &["/bin/sh", "-c", "x"]),
        (&[], Some("/bin/sh"), &["/bin/sh"]),
        (&["sh"], Some(""), &["sh"]),
    ] {
        let config = merge(&image, &asked(command, entrypoint)).unwrap();
        assert_eq!(arguments(&config), whole, "{command:?} {entrypoint:?}");
        assert_eq!(config.env, list(&["A=3", "B=2"]));
    }
    assert_eq!(merge(&image, &asked(&[], Some(""))).unwrap_err().kind(), Kind::Usage);
    assert_eq!(merge(&ContainerConfig::default(), &asked(&[], None)).unwrap_err().kind(), Kind::Usage);
}

#[test]
fn settings_are_read_back() {
    for base in [
        Base::Image { asked: "a".to_owned() },
        Base::Directory { path: "/x".into() },
        Base::Machine { views: vec![View { target: "/home".into(), place: "views/1".into(), kind: ViewKind::Mount }] },
    ] {
        let settings = Settings {
            base,
            config: ContainerConfig::default(),
            hostname: None,
            network: Network::Host,
            tty: true,
            read_only: false,
            remove: true,
            driver: Some("flat".to_owned()),
        };
        let read: Settings = serde_json::from_value(settings_value(&settings).unwrap()).unwrap();
        assert_eq!(read, settings);
    }
}
