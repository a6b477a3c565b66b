package main

import (
	"os/signal"
	"syscall"
)

func main() {
	signal.Reset(syscall.SIGSEGV)
	syscall.Kill(syscall.Getpid(), syscall.SIGSEGV)
	select {}
}
