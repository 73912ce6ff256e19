package main

import (
	"os/exec"
	"syscall"
)

// separate keeps a terminal's Ctrl-C from a server, which we stop ourselves, and has it end when we
// are killed. The kernel takes the end of the thread that started it for our end: main's thread is
// the one that stays.
func separate(command *exec.Cmd) {
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
