//! Process 1 while the command runs: passes signals on, reaps whatever is orphaned, and ends with the command.
//!
//! Its end ends every process of the container (pid_namespaces(7)).

use std::os::fd::AsFd;

use mica_sys::process::{
    CapSets, Caps, CaughtSignal, Control, Ended, Interest, Pid, Signal, Target, poll, reap_any, send_signal, set_caps,
    set_no_new_privs,
};

use crate::caps;
use crate::child::Started;
use crate::error::{At, RuntimeError, Step};
use crate::wire::parse_signal_packet;

/// Keeps the right to signal processes of any user, and no other.
pub(crate) fn lower_rights() -> Result<(), RuntimeError> {
    let kill = Caps::default().with(caps::KILL);
    set_no_new_privs().at(|| Step::Capabilities)?;
    set_caps(CapSets { effective: kill, permitted: kill, inheritable: Caps::default() }).at(|| Step::Capabilities)
}

/// Looks after the container until its command has ended.
pub(crate) fn supervise(control: &Control, started: &Started) -> Result<Ended, RuntimeError> {
    loop {
        let ready = poll(&[
            Interest { fd: started.signals.as_fd(), read: true, write: false },
            Interest { fd: control.as_fd(), read: true, write: false },
        ])
        .at(|| Step::Supervise)?;
        let [signals, caller] = ready.as_slice() else { continue };
        if caller.read {
            match control.receive().at(|| Step::Supervise)? {
                Some(packet) => {
                    if let Some(caught) = parse_signal_packet(&packet.bytes) {
                        pass_on(caught, started.command)?;
                    }
                }
                // The caller is gone; the kernel's signal for that is on its way.
                None => return Ok(Ended::Signal(Signal::KILL.as_raw())),
            }
        }
        if signals.read {
            while let Some(signal) = started.signals.next().at(|| Step::Supervise)? {
                // From outside the container, `kill` on init means the command.
                if signal != Signal::CHLD {
                    pass_on(CaughtSignal { signal, from_terminal: false }, started.command)?;
                }
            }
            while let Some((pid, ended)) = reap_any().at(|| Step::Supervise)? {
                if pid == started.command {
                    return Ok(ended);
                }
            }
        }
    }
}

/// What the keyboard sends is for the command's whole group; it leads one once it has begun.
fn pass_on(caught: CaughtSignal, command: Pid) -> Result<(), RuntimeError> {
    if caught.from_terminal && send_signal(Target::Group(command), caught.signal).at(|| Step::Supervise)? {
        return Ok(());
    }
    send_signal(Target::Process(command), caught.signal).map(drop).at(|| Step::Supervise)
}
