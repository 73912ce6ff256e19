package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"
)

// settings are what the command line asks for.
type settings struct {
	only     []string // parts of rows' keys; none: all rows
	list     bool
	quick    bool
	measured time.Duration // how long one run is measured
	warm     time.Duration // how long it is under load before that
	rounds   int           // how often each capacity is measured
	base     string        // a revision to compare with; empty: none
	dir      string        // where the data is; empty: below a temporary directory
	json     string        // where the figures go, too
	verbose  bool          // report progress
}

func parseSettings(args []string, output io.Writer) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(output)
	only := flags.String("only", "", "rows to measure: comma-separated parts of their keys, such as add/mysql,hot (see -list)")
	flags.BoolVar(&s.list, "list", false, "list the rows' keys and measure nothing")
	flags.BoolVar(&s.quick, "quick", false, "one round of 1 s a run: for a first look, not for publication")
	seconds := flags.Float64("seconds", 2, "how long one run is measured")
	flags.IntVar(&s.rounds, "rounds", 2, "how often each capacity is measured; the median counts")
	flags.StringVar(&s.base, "base", "", "compare this build with that of a revision, in interleaved runs of the capacity rows")
	flags.StringVar(&s.dir, "dir", "", "where the engines keep their data; empty: a temporary directory on a disk")
	flags.StringVar(&s.json, "json", "", "write the figures to this file")
	flags.BoolVar(&s.verbose, "v", false, "report each run")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	s.measured = time.Duration(*seconds * float64(time.Second))
	s.warm = time.Second
	if s.quick {
		s.measured, s.rounds = time.Second, 1
	}
	if s.measured < time.Second || s.rounds < 1 {
		return s, errors.New("-seconds and -rounds must be 1 or more")
	}
	if *only != "" {
		s.only = strings.Split(*only, ",")
	}
	return s, nil
}

// asksFor reports whether -only selects a row that is not measured by default.
func (s settings) asksFor(key string) bool { return len(s.only) > 0 && s.wants(key) }

// wants reports whether a row was asked for.
func (s settings) wants(key string) bool {
	for _, part := range s.only {
		if strings.Contains(key, strings.TrimSpace(part)) {
			return true
		}
	}
	return len(s.only) == 0
}
