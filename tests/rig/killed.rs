//! A command that is killed when it is about to make a certain system call.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// How a traced command ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// As asked.
    Killed,
    /// By itself, with this code, after so many system calls.
    Exited(i32, u64),
}

/// Runs a command that is killed when its first thread is about to make its `nth` system call, counted from 1.
#[expect(unsafe_code, reason = "ptrace(2) is how a process is stopped at a system call")]
#[expect(clippy::zombie_processes, reason = "it is waited for by waitpid(2)")]
pub fn killed_at(command: &mut Command, nth: u64) -> End {
    // SAFETY: after a fork only this one call is made, which allocates nothing.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let child = command.spawn().expect("the program starts under ptrace");
    let pid = i32::try_from(child.id()).expect("a process number");
    let wait = || {
        let mut status = 0;
        // SAFETY: the status outlives the call.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        status
    };
    let ask = |request: libc::c_uint, data: libc::c_int| {
        // SAFETY: these requests take a number, and no memory of ours.
        assert_eq!(unsafe { libc::ptrace(request, pid, 0, libc::c_long::from(data)) }, 0);
    };
    let mut status = wait();
    assert!(libc::WIFSTOPPED(status), "it stops at its start");
    ask(libc::PTRACE_SETOPTIONS, libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL);
    let (mut stops, mut signal) = (0_u64, 0);
    loop {
        ask(libc::PTRACE_SYSCALL, signal);
        status = wait();
        if libc::WIFEXITED(status) {
            return End::Exited(libc::WEXITSTATUS(status), stops.div_ceil(2));
        }
        if libc::WIFSIGNALED(status) {
            return End::Killed;
        }
        signal = libc::WSTOPSIG(status);
        if signal == libc::SIGTRAP | 0x80 {
            signal = 0;
            // Once on the way in, once on the way out.
            stops += 1;
            if stops == nth * 2 - 1 {
                // SAFETY: it is our child, and not waited for.
                unsafe { libc::kill(pid, libc::SIGKILL) };
                while !libc::WIFSIGNALED(status) && !libc::WIFEXITED(status) {
                    status = wait();
                }
                return End::Killed;
            }
        }
    }
}
