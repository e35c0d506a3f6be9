//! Descriptors 0, 1 and 2 as they are.

use std::io::Write;
use std::process::Stdio;

use mica_runtime::set_user;
use mica_runtime::users::User;
use mica_testkit::needs;

use crate::subject::{Case, Ran};

fn fed(case: &Case, input: Vec<u8>) -> std::process::Output {
    let mut command = case.command();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    output
}

pub(crate) fn standard_input_is_the_callers_pipe() {
    needs!(root, program "busybox");
    let output = fed(&Case::sh("cat; echo to-stderr >&2; exit 5"), b"through\n".to_vec());
    let ran = Ran::from(output);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (5, "through\n", "to-stderr\n"));
}

pub(crate) fn a_megabyte_comes_through_unharmed() {
    needs!(root, program "busybox");
    let input: Vec<u8> = (0_u32..1 << 20).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let output = fed(&Case::new(&["cat"]), input.clone());
    assert!(output.status.success());
    assert!(output.stdout == input, "{} bytes came", output.stdout.len());
}

pub(crate) fn a_user_may_open_its_pipes_by_name() {
    needs!(root, program "busybox");
    let mut case = Case::sh("id -u; echo out >/dev/stdout; echo err >/dev/stderr");
    set_user(&mut case.spec, &User { uid: 1000, gid: 1000, groups: Vec::new(), home: "/".to_owned() });
    let ran = Ran::from(fed(&case, Vec::new()));
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("1000\nout\n", "err\n"));
}
