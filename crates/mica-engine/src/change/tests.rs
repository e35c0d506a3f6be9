use super::*;

fn changed(from: ContainerConfig, instructions: &[&str]) -> ContainerConfig {
    let mut config = from;
    let instructions: Vec<String> = instructions.iter().map(|text| (*text).to_owned()).collect();
    apply(&mut config, &instructions).unwrap();
    config
}

fn list(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

#[test]
fn commands_run_as_lists_or_through_the_shell() {
    let base = ContainerConfig { cmd: Some(list(&["old"])), ..ContainerConfig::default() };
    assert_eq!(changed(base.clone(), &["CMD [\"nginx\", \"-g\"]"]).cmd, Some(list(&["nginx", "-g"])));
    assert_eq!(changed(base.clone(), &["cmd echo  $HOME"]).cmd, Some(list(&["/bin/sh", "-c", "echo  $HOME"])));
    assert_eq!(changed(base.clone(), &["CMD [\"no list"]).cmd, Some(list(&["/bin/sh", "-c", "[\"no list"])));
    assert_eq!(changed(base.clone(), &["CMD []"]).cmd, None);
    // A new entrypoint takes the old command away, unless the command is new too.
    let both = changed(base.clone(), &["ENTRYPOINT [\"/init\"]"]);
    assert_eq!((both.entrypoint, both.cmd), (Some(list(&["/init"])), None));
    assert_eq!(changed(base, &["CMD [\"x\"]", "ENTRYPOINT [\"/init\"]"]).cmd, Some(list(&["x"])));
}

#[test]
fn variables_and_labels_are_set_and_see_what_is_set() {
    let base = ContainerConfig { env: list(&["PATH=/bin", "A=1"]), ..ContainerConfig::default() };
    let config = changed(base, &["ENV PATH=$PATH:/opt/bin B=\"x y\"", "ENV C the rest", "LABEL k=\"v w\" l=$B"]);
    assert_eq!(config.env, list(&["PATH=/bin:/opt/bin", "A=1", "B=x y", "C=the rest"]));
    assert_eq!(config.labels.get("k").map(String::as_str), Some("v w"));
    assert_eq!(config.labels.get("l").map(String::as_str), Some("x y"));
}

#[test]
fn the_rest_of_dockers_instructions() {
    let config = changed(
        ContainerConfig::default(),
        &[
            "EXPOSE 80 53/udp 8000-8002",
            "VOLUME [\"/data\", \"/my files\"]",
            "VOLUME /a /b",
            "USER www-data:www-data",
            "WORKDIR /srv",
            "WORKDIR app/../web",
            "STOPSIGNAL SIGQUIT",
            "ONBUILD RUN make",
            "HEALTHCHECK --interval=1m30s --retries=3 CMD curl -f http://localhost/",
        ],
    );
    assert_eq!(
        config.exposed_ports.keys().collect::<Vec<_>>(),
        ["53/udp", "80/tcp", "8000/tcp", "8001/tcp", "8002/tcp"]
    );
    assert_eq!(config.volumes.keys().collect::<Vec<_>>(), ["/a", "/b", "/data", "/my files"]);
    assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("www-data:www-data", "/srv/web"));
    assert_eq!(config.stop_signal.as_deref(), Some("SIGQUIT"));
    assert_eq!(config.on_build, list(&["RUN make"]));
    let check = config.healthcheck.unwrap();
    assert_eq!(check.test, list(&["CMD-SHELL", "curl -f http://localhost/"]));
    assert_eq!((check.interval, check.retries), (90_000_000_000, 3));
    assert_eq!(changed(ContainerConfig::default(), &["HEALTHCHECK NONE"]).healthcheck.unwrap().test, list(&["NONE"]));
}

#[test]
fn what_is_not_understood_is_named() {
    for bad in [
        "",
        "RUN make",
        "FROM x",
        "SHELL [\"bash\"]",
        "ENV",
        "ENV A",
        "ENV =x",
        "LABEL",
        "EXPOSE x",
        "EXPOSE 0",
        "EXPOSE 9-8",
        "EXPOSE 80/icmp",
        "VOLUME [\"\"]",
        "STOPSIGNAL SIGNOTHING",
        "STOPSIGNAL 99",
        "ONBUILD ONBUILD RUN x",
        "ONBUILD FROM x",
        "HEALTHCHECK",
        "HEALTHCHECK CMD",
        "HEALTHCHECK --interval=x CMD y",
        "HEALTHCHECK --retries=-1 CMD y",
        "USER 'x",
        "STOPSIGNAL RTMINé",
    ] {
        let error = apply(&mut ContainerConfig::default(), &[bad.to_owned()]).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage, "{bad}");
        assert!(error.to_string().starts_with("change "), "{error}");
    }
}
