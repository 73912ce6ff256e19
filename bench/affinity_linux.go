package main

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// keepOff takes the last processor from all threads of the processes, and gives this thread that
// one alone. free takes it back. Threads that they start later inherit it.
func keepOff(processes ...int) (free func() error, err error) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, err
	}
	if all.Count() < 2 {
		return nil, errors.New("there is only one")
	}
	last := 0
	for processor := range 1024 {
		if all.IsSet(processor) {
			last = processor
		}
	}
	theirs, ours := all, unix.CPUSet{}
	theirs.Clear(last)
	ours.Set(last)
	set := func(theirs, ours *unix.CPUSet) error {
		errs := []error{unix.SchedSetaffinity(0, ours)}
		for _, process := range processes {
			errs = append(errs, setAll(process, theirs))
		}
		return errors.Join(errs...)
	}
	return func() error { return set(&all, &all) }, set(&theirs, &ours)
}

func setAll(process int, processors *unix.CPUSet) error {
	threads, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(process), "task"))
	if err != nil {
		return err
	}
	var errs []error
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, processors); !errors.Is(err, unix.ESRCH) { // it may have ended
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
