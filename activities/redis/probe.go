package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
)

// probeScript looks from the host whether a server runs at a port, and what its configuration file would make of it. Arguments: port, file.
// A listener counts whoever it is of; a Redis that does not listen yet shows the port, or the file it was started with, in its command line.
// That nothing runs is proof only of a look that could see, and that came to its end: it says both.
const probeScript = `
port=$1 conf=$2
[ -r /proc/net/tcp ] && [ -r "/proc/$$/comm" ] && echo x | grep -q x && echo "sees yes"
hex=$(printf '%04X' "$port")
cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -qE "^ *[0-9]+: [0-9A-F]+:$hex [0-9A-F]+:[0-9A-F]+ 0A " && echo "listens yes"
for p in /proc/[0-9]*; do
  read -r name 2>/dev/null <"$p/comm" || continue
  case $name in redis-server*|valkey-server*|redis-check-*) ;; *) continue ;; esac
  line=$(tr '\0' ' ' 2>/dev/null <"$p/cmdline")
  case " $line " in
    *":$port "*) echo "process ${p#/proc/}" ;;
    *" $conf "*) [ -n "$conf" ] && echo "process ${p#/proc/}" ;;
  esac
done
if [ -n "$conf" ]; then
  [ -f "$conf" ] && echo "config yes"
  [ -w "$conf" ] && echo "writable yes"
  sed -n 's/^[[:space:]]*min-\(replicas\|slaves\)-to-write[[:space:]]\{1,\}"\{0,1\}\([0-9]\{1,\}\).*/fence \2/p' "$conf" 2>/dev/null
  sed -n 's/^[[:space:]]*\(replicaof\|slaveof\)[[:space:]]\{1,\}\([^[:space:]]\{1,\}\)[[:space:]]\{1,\}\([0-9]\{1,\}\).*/replicaof \2:\3/p' "$conf" 2>/dev/null
fi
echo "end yes"
`

// fenceScript fences a server that is down, in its configuration file, where the last line of a name counts. Arguments: file, step.
const fenceScript = `set -e
n=$(sed -n 's/^[[:space:]]*min-\(replicas\|slaves\)-to-write[[:space:]]\{1,\}"\{0,1\}\([0-9]\{1,\}\).*/\2/p' "$1" | tail -n 1)
n=${n:-0}
[ "$n" -lt "$2" ] || exit 0
printf '\nmin-replicas-to-write %s\n' "$((n + 2 * $2))" >>"$1"
sync "$1"
`

// machine is what a server looks like from its host.
type machine struct {
	Listens   bool
	Processes []string
	Config    bool // its configuration file is there
	Writable  bool
	Fence     int64
	ReplicaOf string
}

func (m machine) running() bool { return m.Listens || len(m.Processes) > 0 }
func (m machine) fenced() bool  { return m.Config && m.Fence >= fenceStep }

// probe looks at a server from its host. Errors are ErrUnreachable where the host does not answer.
func (d *Driver) probe(ctx context.Context, n node) (machine, error) {
	_, port, err := net.SplitHostPort(n.addr)
	if err != nil {
		return machine{}, &activities.Error{Type: activities.ErrConfig, Op: n.op("probe"), Err: err}
	}
	out, err := d.run(ctx, n, activities.Command{Args: []string{"sh", "-c", probeScript, "probe", port, n.config}})
	if err != nil {
		return machine{}, mapError(n.op("probe"), err)
	}
	m, err := parseProbe(out.Stdout)
	if err != nil {
		return machine{}, &activities.Error{Type: activities.ErrConfig, Op: n.op("probe"), Err: fmt.Errorf("host %s: %w", n.host, err),
			Next: "muster needs /proc, a POSIX shell, grep, sed and tr there"}
	}
	return m, nil
}

// parseProbe reads what probeScript printed. Less than all of it is an error.
func parseProbe(text string) (machine, error) {
	var m machine
	var err error
	sees, ended := false, false
	for line := range strings.Lines(text) {
		word, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "sees":
			sees = true
		case "end":
			ended = true
		case "listens":
			m.Listens = true
		case "process":
			if _, err := strconv.ParseUint(value, 10, 31); err != nil { // it is handed to kill
				return machine{}, fmt.Errorf("a process: %w", err)
			}
			m.Processes = append(m.Processes, value)
		case "config":
			m.Config = true
		case "writable":
			m.Writable = true
		case "fence":
			if m.Fence, err = strconv.ParseInt(value, 10, 64); err != nil {
				return machine{}, fmt.Errorf("min-replicas-to-write in its configuration file: %w", err)
			}
		case "replicaof":
			m.ReplicaOf = value
		}
	}
	switch {
	case !ended:
		return machine{}, fmt.Errorf("the look was cut short: that it shows no server proves nothing (%d bytes)", len(text))
	case !sees:
		return machine{}, errors.New("the look could read neither processes nor listeners: that it shows no server proves nothing")
	}
	return m, nil
}

func (m machine) facts() journal.Facts {
	f := journal.Facts{"role": "stopped"}
	if m.running() {
		f["role"] = "unknown"
		f["processes"] = fmt.Sprint(len(m.Processes))
	}
	if m.Config {
		f["starts_as"] = "primary"
		if m.ReplicaOf != "" {
			f["starts_as"] = "standby of " + m.ReplicaOf
		} else if m.fenced() {
			f["starts_as"] = "fenced primary"
		}
	}
	return f
}

// fenceFile fences a server that is down.
func (d *Driver) fenceFile(ctx context.Context, n node) error {
	_, err := d.run(ctx, n, activities.Command{Args: []string{"sh", "-c", fenceScript, "fence", n.config, strconv.Itoa(fenceStep)}})
	return mapError(n.op("fence in its configuration file"), err)
}

// kill ends the processes that the probe saw.
func (d *Driver) kill(ctx context.Context, n node, m machine) error {
	if len(m.Processes) == 0 {
		return &activities.Error{Type: activities.ErrConfig, Op: n.op("stop"),
			Err: fmt.Errorf("something listens at its port on host %s, and it is no Redis that can be seen", n.host)}
	}
	_, err := d.run(ctx, n, activities.Command{Args: append([]string{"kill", "-KILL"}, m.Processes...)})
	return mapError(n.op("stop"), err)
}

// launch starts a server that is down; its end is not awaited.
func (d *Driver) launch(ctx context.Context, n node) error {
	if len(n.start) == 0 {
		return &activities.Error{Type: activities.ErrConfig, Op: n.op("start"), Err: fmt.Errorf("the estate has no start command for it"),
			Next: "start the server by hand, or write start at the member"}
	}
	_, err := d.run(ctx, n, activities.Command{Args: n.start, Detach: true})
	return mapError(n.op("start"), err)
}
