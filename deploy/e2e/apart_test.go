package e2e

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/musterhq/muster/deploy/sandbox"
)

// engineExited is closed when an engine that is a process of its own has ended; never where worker and engine are one process.
func (s *shop) engineExited() <-chan struct{} {
	if s.cluster == nil {
		return nil
	}
	return s.cluster.exited
}

// openShopApart is a shop whose worker has no engine: it uses that of another muster-worker, in a namespace of its own, where that
// one's worker does not work.
func openShopApart(t *testing.T) *shop {
	t.Helper()
	estate := sandbox.ForTest(t)
	cluster := newWorker(t, t.TempDir())
	cluster.port = strconv.Itoa(sandbox.PortForTest(t)) // the same after a restart
	cluster.start(t)
	namespaces, err := client.NewNamespaceClient(client.Options{HostPort: cluster.engine.Address, Logger: quiet()})
	require.NoError(t, err)
	defer namespaces.Close()
	require.NoError(t, namespaces.Register(t.Context(), &workflowservice.RegisterNamespaceRequest{
		Namespace: "apart", WorkflowExecutionRetentionPeriod: durationpb.New(24 * time.Hour)}))
	worker := startWorker(t, estate.Runbooks(), "TEMPORAL_ADDRESS="+cluster.engine.Address, "TEMPORAL_NAMESPACE=apart", "MUSTER_RUNBOOKS="+estate.Runbooks())
	require.Contains(t, worker.ready, "UI (none)")
	return &shop{worker: worker, sandbox: estate, cluster: cluster}
}

// TestKillApart kills the worker alone, or the engine alone, where they are two processes: same end, same journal, no effect twice.
func TestKillApart(t *testing.T) {
	t.Parallel()
	dice := luck(t)
	s := openShopApart(t)
	members := []*members{s.writeToMembers(t)}
	want := s.disturbed(t, members, true, nil)
	all := boundaries(want.steps)
	dice.Shuffle(len(all), func(a, b int) { all[a], all[b] = all[b], all[a] })
	plan := all[:1]
	if kills() >= allBoundaries {
		plan = append(all[:kills()/4], blow{after: time.Duration(dice.Int64N(int64(want.took)))})
	}
	for n, b := range plan {
		for _, b.apart = range []bool{false, true} {
			ok := t.Run(fmt.Sprintf("%d %s", n+1, b), func(t *testing.T) {
				got := s.disturbed(t, members, true, &b)
				require.Equal(t, want.effect, got.effect, "what was done to the systems")
				require.Equal(t, sequence(want.entries), sequence(got.entries), "the journal")
				got.requireSoon(t)
				t.Logf("resumed %s after the restart, no member accepted writes for %s", got.resumed.Round(time.Millisecond), got.alone.Round(time.Millisecond))
			})
			if !ok && s.sandboxBroken(t) {
				return
			}
		}
	}
}
