package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/musterhq/muster/activities"
)

// probeScript looks at a data directory from its host, in one command and some 10 ms. Arguments: data directory, bin directory.
//
// A server process is one whose working directory is the data directory: that finds the children that a killed postmaster left behind,
// which may still write, and no zombie and no foreign process with a number used again. It needs the rights of the directory's owner,
// without which it would find nothing and prove nothing: so it says whose rights it has, and whether it can look into processes at all.
const probeScript = `
dir=$1 bin=$2 newest=
[ / -ef / ] && [ -e "/proc/$$/cwd" ] && echo "sees yes"
[ -d "$dir" ] && echo "dir yes"
[ -O "$dir" ] && echo "owner yes"
[ -w "$(dirname "$dir")" ] && echo "parent yes"
mountpoint -q "$dir" 2>/dev/null && echo "mountpoint yes"
[ -e "$dir/standby.signal" ] && echo "standby yes"
[ -d "$dir.muster-rewind" ] && echo "aside yes"
if [ -e "$dir.muster.lock" ]; then
  flock --nonblock --shared --conflict-exit-code 75 "$dir.muster.lock" true
  [ $? = 75 ] && echo "busy yes"
fi
[ -e "$dir.muster-job" ] && echo "job $(cat "$dir.muster-job")"
[ -d "$dir.muster-old" ] && echo "old $dir.muster-old"
for p in /proc/[0-9]*; do
  [ "$p/cwd" -ef "$dir" ] || continue
  read -r name 2>/dev/null <"$p/comm" || continue
  case $name in *postgres*|postmaster) echo "process ${p#/proc/}" ;; esac
done
if read -r pid 2>/dev/null <"$dir/postmaster.pid" && read -r stat 2>/dev/null <"/proc/$pid/stat"; then
  case $stat in *') Z '*) echo "zombie $pid" ;; esac
fi
[ -d "$dir" ] || exit 0
for file in "$dir"/pg_wal/????????.history; do [ -e "$file" ] && newest=$file; done
if [ -n "$newest" ]; then
  name=${newest##*/}
  echo "newest ${name%.history} $(awk '$1 ~ /^[0-9]+$/ { at = $2 } END { print at }' "$newest")"
fi
echo "control"
exec "$bin/pg_controldata" -D "$dir"
`

// machine is what a data directory looks like from its host.
type machine struct {
	Sees      bool // the look can tell a process by its working directory
	Dir       bool // it is there
	Owner     bool // commands run as its owner
	Parent    bool // its parent can be written
	Mount     bool // it is a mount point, which cannot be renamed
	Standby   bool // standby.signal is there
	Aside     bool // it was set aside for pg_rewind, which did not finish
	Busy      bool // a job on the data directory runs
	Job       string
	Old       string // what a base backup replaced
	Zombie    bool   // its killed postmaster waits to be buried: a start and pg_rewind would take it for alive
	Processes []string
	Newest    string // name and last switch point of the newest timeline history in pg_wal
	Control   control
}

func (mc *machine) running() bool { return len(mc.Processes) > 0 }

// probe looks at a member's data directory. Errors are ErrUnreachable where the host does not answer.
func (d *Driver) probe(ctx context.Context, m member) (machine, error) {
	// pg_rewind's job renames the directory: a look that falls between finds half of it, and is taken again.
	for try := 1; ; try++ {
		got, torn, err := d.probeOnce(ctx, m)
		if !torn || try == 3 || ctx.Err() != nil {
			return got, err
		}
	}
}

func (d *Driver) probeOnce(ctx context.Context, m member) (got machine, torn bool, err error) {
	op := m.op("look at the data directory of")
	out, err := d.run(ctx, m, activities.Command{
		Args: []string{"sh", "-c", probeScript, "probe", m.own.DataDirectory, m.own.BinDirectory},
		Env:  map[string]string{"LC_ALL": "C"},
	})
	var failed *activities.CommandError
	if err != nil && !errors.As(err, &failed) {
		return machine{}, false, mapError(op, err)
	}
	got, controlText := parseProbe(out.Stdout)
	if got.Dir && !got.Owner {
		return machine{}, false, &activities.Error{
			Type: activities.ErrConfig, Op: op,
			Err:  fmt.Errorf("commands on host %s do not run as the owner of %s", m.host, m.own.DataDirectory),
			Next: "set the host's run_as to that user",
		}
	}
	if (got.Dir || got.Aside) && !got.Sees {
		return machine{}, false, &activities.Error{
			Type: activities.ErrConfig, Op: op,
			Err:  fmt.Errorf("host %s does not show processes: that no server is seen there proves nothing", m.host),
			Next: "muster needs /proc there, and a shell whose test has -ef",
		}
	}
	if err != nil { // pg_controldata
		return machine{}, !commandMissing(err), mapError(op, err)
	}
	if !got.Dir {
		if got.Aside {
			return got, false, nil
		}
		return machine{}, false, &activities.Error{
			Type: activities.ErrConfig, Op: op, Err: fmt.Errorf("no directory %s on host %s", m.own.DataDirectory, m.host),
			Next: "check data_directory in the estate; a base backup that was interrupted is made anew by retry",
		}
	}
	if got.Control, err = parseControl(controlText); err != nil {
		return machine{}, true, fmt.Errorf("%s: %w", op, err)
	}
	if got.Control, err = got.Control.promoted(got.Newest); err != nil {
		return machine{}, true, fmt.Errorf("%s: %w", op, err)
	}
	return got, false, nil
}

// promoted corrects what pg_control says of a primary that has not completed a checkpoint since its promotion: it is on the timeline
// of the newest history file in its pg_wal, from the point on that is the last there. A standby has histories of its primary's, too.
func (c control) promoted(newest string) (control, error) {
	name, at, _ := strings.Cut(newest, " ")
	if newest == "" || c.State != stateInProduction {
		return c, nil
	}
	timeline, err := strconv.ParseUint(name, 16, 32)
	if err != nil {
		return c, fmt.Errorf("name of a timeline history: %w", err)
	}
	if uint32(timeline) <= c.Timeline {
		return c, nil
	}
	if c.Redo, err = parseLSN(at); err != nil {
		return c, fmt.Errorf("history of timeline %d: %w", timeline, err)
	}
	c.Timeline = uint32(timeline)
	return c, nil
}

// parseProbe reads what probeScript printed, and returns what pg_controldata printed apart.
func parseProbe(text string) (machine, string) {
	var m machine
	head, controlText, _ := strings.Cut("\n"+text, "\ncontrol\n") // a line of its own: what a job said of its end may end so, too
	for _, line := range strings.Split(head, "\n") {
		key, value, _ := strings.Cut(line, " ")
		switch key {
		case "sees":
			m.Sees = true
		case "dir":
			m.Dir = true
		case "owner":
			m.Owner = true
		case "parent":
			m.Parent = true
		case "mountpoint":
			m.Mount = true
		case "standby":
			m.Standby = true
		case "aside":
			m.Aside = true
		case "busy":
			m.Busy = true
		case "job":
			m.Job = value
		case "newest":
			m.Newest = value
		case "old":
			m.Old = value
		case "zombie":
			m.Zombie = true
		case "process":
			m.Processes = append(m.Processes, value)
		}
	}
	return m, controlText
}

// lastRecordScript prints the last valid record of a data directory's WAL. Arguments: bin directory, pg_wal, timeline, start.
// pg_waldump complains about the end of WAL, always: what it printed before is what counts.
const lastRecordScript = `"$1/pg_waldump" -p "$2" -t "$3" -s "$4" 2>/dev/null | tail -n 1`

// lastRecord finds the end of what a stopped server wrote: the start of its last record, and where that ends.
func (d *Driver) lastRecord(ctx context.Context, m member, c control) (start, end lsn, err error) {
	op := m.op("find the last WAL record of")
	from := c.Redo
	if c.State == stateShutDown {
		from = c.Checkpoint // nothing is behind a shutdown checkpoint
	}
	out, err := d.run(ctx, m, activities.Command{
		Args: []string{
			"sh", "-c", lastRecordScript, "waldump",
			m.own.BinDirectory, m.own.DataDirectory + "/pg_wal", fmt.Sprint(c.Timeline), from.String(),
		},
		Env: map[string]string{"LC_ALL": "C"},
	})
	if err != nil {
		return 0, 0, mapError(op, err)
	}
	record, err := parseWALRecord(strings.TrimSpace(out.Stdout))
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", op, err)
	}
	return record.Start, recordEnd(record.Start, record.Length, c.Page, c.Segment), nil
}
