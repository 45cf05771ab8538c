package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/musterhq/muster/activities"
)

// whyStopped adds to an error of a server that does not answer what its host says: that it does not run, and how much space is
// left for its data and its WAL, the commonest reason. "Connection refused" alone sends people to the network.
func (d *Driver) whyStopped(ctx context.Context, m member, err error) error {
	if activities.TypeOf(err) != activities.ErrUnreachable {
		return err
	}
	machine, probeErr := d.probe(ctx, m)
	if probeErr != nil || machine.running() {
		return err
	}
	saw := "no server process runs in " + m.own.DataDirectory
	out, dfErr := d.run(ctx, m, activities.Command{
		Args: []string{"df", "-BM", "--output=avail", m.own.DataDirectory, m.own.DataDirectory + "/pg_wal/"},
		Env:  map[string]string{"LC_ALL": "C"},
	})
	if lines := strings.Fields(out.Stdout); dfErr == nil && len(lines) == 3 { // a heading, and a line each
		saw += fmt.Sprintf(" (free on its disk: %s, on that of its WAL: %s)", lines[1], lines[2])
	}
	return &activities.Error{Type: activities.ErrUnreachable, Op: m.op("reach"), Err: fmt.Errorf("%s: %w", saw, err),
		Next: "see the server's log, start it, then retry"}
}
