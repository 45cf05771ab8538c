// Command bench measures muster on this machine and prints one table: each figure with its reference, measured in the same
// run, and the ratio of the two. It starts bin/muster-worker and a sandbox, and stops all that it started.
//
//	make bench                                   all of it, half an hour
//	make bench QUICK=1                           fewer samples, 6 minutes
//	go run ./deploy/bench -only steps,plan       some of it
//	go run ./deploy/bench -compare a.json b.json what changed between two runs
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/musterhq/muster/deploy/sandbox"
)

// bench is one run of the command.
type bench struct {
	quick   bool
	worker  string // path of muster-worker
	dir     string // for state folders and logs; removed at the end
	estate  *sandbox.Sandbox
	results results
}

// sections in their order; each takes care of what it starts.
var sections = []struct {
	name string
	run  func(*bench, context.Context) error
}{
	{"steps", (*bench).steps},
	{"plan", (*bench).plan},
	{"evidence", (*bench).evidence},
	{"ready", (*bench).ready},
	{"outage", (*bench).outage}, // also unplanned and growth, on one engine
	{"redis", (*bench).redis},
	{"waiting", (*bench).waiting},
	{"gates", (*bench).gates},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context) error {
	quick := flag.Bool("quick", false, "fewer samples")
	bin := flag.String("bin", "bin", "`folder` of muster-worker (make build)")
	out := flag.String("out", "", "`file` for the results as JSON (default: bin/bench/TIME.json)")
	only := flag.String("only", "", "`sections` to measure, with commas: steps, plan, evidence, ready, outage, redis, waiting, gates (default: all)")
	profile := flag.String("cpuprofile", "", "`file` for a CPU profile of this process, in which the kernel runs")
	compared := flag.Bool("compare", false, "compare the results in two files instead of measuring")
	flag.Parse()
	if *compared {
		if flag.NArg() != 2 {
			return errors.New("-compare wants two files of results")
		}
		return compare(os.Stdout, flag.Arg(0), flag.Arg(1))
	}
	wanted, err := sectionsOf(*only)
	if err != nil {
		return err
	}
	b := &bench{quick: *quick, worker: filepath.Join(*bin, "muster-worker")}
	if *out == "" {
		*out = filepath.Join(*bin, "bench", time.Now().Format("20060102-150405")+".json")
	}
	stop, err := profiled(*profile)
	if err != nil {
		return err
	}
	defer stop()
	err = b.measure(ctx, wanted)
	if err != nil && len(b.results.Figures) == 0 {
		return err
	}
	b.results.table(os.Stdout)
	return errors.Join(err, b.results.save(*out))
}

// profiled writes a CPU profile until stop is called.
func profiled(path string) (stop func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	file, err := os.Create(path)
	if err == nil {
		err = pprof.StartCPUProfile(file)
	}
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	return func() { pprof.StopCPUProfile(); _ = file.Close() }, nil
}

func sectionsOf(only string) ([]string, error) {
	var names []string
	for _, s := range sections {
		names = append(names, s.name)
	}
	if only == "" {
		return names, nil
	}
	wanted := strings.Split(only, ",")
	for _, name := range wanted {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("unknown section %q: they are %v", name, names)
		}
	}
	return wanted, nil
}

func (b *bench) measure(ctx context.Context, wanted []string) (err error) {
	began := time.Now()
	if b.worker, err = filepath.Abs(b.worker); err == nil {
		_, err = os.Stat(b.worker)
	}
	if err != nil {
		return fmt.Errorf("%w (next: make build)", err)
	}
	if b.dir, err = os.MkdirTemp("", "muster-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	version, _ := exec.CommandContext(ctx, b.worker, "--version").Output() // a failure shows at its first start
	b.results.begin(strings.TrimSpace(string(version)), b.quick)

	b.say("a sandbox is built")
	// HAProxy's runtime API by TCP: a shell speaks that without another program.
	if b.estate, err = sandbox.Up(ctx, sandbox.Options{RuntimeTCP: true}); err != nil {
		return err
	}
	defer func() {
		down, cancel := afterwards(ctx)
		defer cancel()
		err = errors.Join(err, b.estate.Down(down, true))
	}()
	for _, s := range sections {
		if !slices.Contains(wanted, s.name) {
			continue
		}
		b.say("%s (load %s)", s.name, load())
		if err := s.run(b, ctx); err != nil {
			b.results.end(time.Since(began))
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	b.results.end(time.Since(began))
	return nil
}

// say tells on standard error what is being done; the table alone goes to standard output.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s "+format+"\n", append([]any{time.Now().Format("15:04:05")}, args...)...)
}

func (b *bench) add(f figure) {
	f.finish()
	b.say("  %s", f.line())
	b.results.Figures = append(b.results.Figures, f)
}

// pick is how many samples are taken.
func (b *bench) pick(full, quick int) int {
	if b.quick {
		return quick
	}
	return full
}

// afterwards is a context for cleaning up, also after an interrupt.
func afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
}

// load is the machine's load averages of 1, 5 and 15 minutes.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 3 {
		return "unknown"
	}
	return strings.Join(fields[:3], " ")
}
