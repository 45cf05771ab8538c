// Package e2e tests muster from outside: the built binaries, a real Temporal inside the worker, a real estate in the sandbox.
//
//	go test ./deploy/e2e                                  all of it
//	go test ./deploy/e2e -rounds 20 -run TestShop         20 of 20
//	go test ./deploy/e2e -record ../../workflows/testdata/history/v0.1
package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

var (
	record = flag.String("record", os.Getenv("MUSTER_RECORD"), "`folder` to save the histories of the runs to, for workflows/replay_test.go (MUSTER_RECORD)")
	rounds = flag.Int("rounds", number("MUSTER_ROUNDS", 2), "round trips of planned failover and failback (MUSTER_ROUNDS)")

	bin string // folder of muster and muster-worker
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(testAll(m))
}

func testAll(m *testing.M) int {
	remove, err := build()
	defer remove()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build takes the binaries of MUSTER_BIN, or builds them: linking the engine takes a while.
func build() (func(), error) {
	if bin = os.Getenv("MUSTER_BIN"); bin != "" {
		var err error
		bin, err = filepath.Abs(bin)
		for _, name := range []string{"muster", "muster-worker"} {
			if _, statErr := os.Stat(filepath.Join(bin, name)); err == nil && statErr != nil {
				err = fmt.Errorf("MUSTER_BIN: %w (next: make build, or leave it unset)", statErr)
			}
		}
		return func() {}, err
	}
	dir, err := os.MkdirTemp("", "muster-e2e-bin-")
	if err != nil {
		return func() {}, err
	}
	bin = dir
	cmd := exec.Command("go", "build", "-o", dir+"/", "./worker/muster-worker", "./starter/muster")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return func() { _ = os.RemoveAll(dir) }, fmt.Errorf("build the binaries: %w\n%s", err, out)
	}
	return func() { _ = os.RemoveAll(dir) }, nil
}

func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}
