//! Real containers, from a busybox root, by a program that does what `mica run` does.
//!
//! This one binary plays three parts. As every caller's binary, it is its containers' init. With [`subject::NAME`] as its first
//! argument it is a caller, which the tests start as a process of its own: they send it signals, kill it, and give it a terminal. Else
//! it is the tests.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test panics; clippy knows tests by their attribute, which this harness has not"
)]

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

mod end;
mod isolation;
mod mounts;
mod ordinary;
mod signals;
mod stdio;
mod subject;
mod terminal;
mod user;

/// Every function named, as a test of its module.
macro_rules! trials {
    ($($module:ident: $($test:ident),+ $(,)?;)+) => {
        vec![$($(Trial::test(concat!(stringify!($module), "::", stringify!($test)), || { $module::$test(); Ok(()) })),+),+]
    };
}

fn main() -> ExitCode {
    if mica_runtime::is_child() {
        return mica_runtime::child_main();
    }
    let mut args = std::env::args();
    if args.nth(1).is_some_and(|arg| arg == subject::NAME) {
        return subject::main(args.next().unwrap_or_default().as_str());
    }
    let trials = trials! {
        end:
            a_command_that_ends_ends_the_container_with_its_code,
            a_program_that_is_not_there_is_127_and_named,
            a_program_that_cannot_be_run_is_126_and_named,
            a_command_that_dies_by_a_signal_is_128_and_the_signal,
            what_the_command_leaves_running_ends_with_it,
            orphans_are_reaped,
            a_killed_caller_takes_its_container_along,
            a_step_that_fails_is_named_with_its_cause,
            what_is_not_supported_is_refused_before_anything_runs;
        isolation:
            process_1_is_our_init_and_the_command_its_child,
            every_namespace_is_the_containers_own,
            the_host_network_is_shared_when_asked_for,
            loopback_is_up_without_a_network,
            the_host_name_is_set_inside_alone,
            init_and_the_callers_binary_are_out_of_reach,
            no_descriptor_of_the_caller_is_inherited,
            a_working_directory_by_a_magic_link_is_refused;
        mounts:
            the_kernels_files_are_masked_and_read_only,
            devices_work_and_others_cannot_be_opened,
            dev_has_the_links_that_programs_expect,
            control_groups_are_seen_read_only,
            the_root_is_read_only_when_asked_for,
            binds_take_their_options_and_missing_targets_are_made,
            further_mounts_are_attached_where_they_belong,
            a_further_mount_of_what_was_removed_is_left_out,
            symlinks_in_an_image_lead_no_mount_outside,
            a_symlink_for_proc_is_refused,
            the_hosts_mounts_are_as_before,
            a_shared_root_gets_nothing_of_the_containers_mounts;
        ordinary:
            a_container_runs_and_its_root_is_the_user,
            ends_are_told_as_to_root,
            devices_are_the_machines_and_none_is_made,
            further_devices_are_the_machines_too,
            a_terminal_is_the_containers_own_too,
            the_machines_sys_is_shown_where_a_new_one_is_refused,
            a_covered_proc_is_an_error_that_says_why,
            the_kernels_files_are_masked_there_too,
            users_that_are_mapped_run_and_others_are_refused_by_name,
            pipes_of_the_users_own_are_given_to_who_runs,
            limits_go_down_and_not_up,
            binds_keep_what_the_machine_forbids,
            a_killed_caller_of_a_user_takes_its_container_along,
            signals_reach_a_users_command,
            init_runs_a_binary_that_cannot_be_written;
        signals:
            signals_to_the_caller_reach_the_command,
            an_interrupt_from_the_keyboard_arrives_once_and_at_the_whole_group,
            signals_that_the_caller_ignores_stay_ignored,
            signals_to_init_reach_the_command;
        stdio:
            standard_input_is_the_callers_pipe,
            a_megabyte_comes_through_unharmed,
            a_user_may_open_its_pipes_by_name;
        terminal:
            a_terminal_is_the_containers_own,
            its_size_follows_the_callers,
            the_callers_terminal_is_put_back,
            the_keyboard_is_played_to_the_command;
        user:
            capabilities_are_dockers_for_root,
            another_user_has_its_ids_and_no_capabilities,
            no_new_privileges_when_asked_for,
            limits_change_only_when_asked_for,
            a_missing_working_directory_is_made;
    };
    let forgotten = Trial::test("no_file_is_forgotten", || {
        no_file_is_forgotten();
        Ok(())
    });
    let all = trials.into_iter().chain([forgotten]).collect();
    libtest_mimic::run(&Arguments::from_args(), all).exit_code()
}

/// A file that is not named above would never run; a function that is not is dead code to the compiler.
fn no_file_is_forgotten() {
    mica_testkit::assert_no_test_file_is_forgotten(env!("CARGO_MANIFEST_DIR"));
}
