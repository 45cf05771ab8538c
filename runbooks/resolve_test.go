package runbooks_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/runbooks"
)

func examples(t *testing.T) *runbooks.Folder {
	t.Helper()
	folder, err := runbooks.Load(".")
	require.NoError(t, err)
	return folder
}

func TestResolveFillsDefaults(t *testing.T) {
	t.Parallel()
	got, err := examples(t).Resolve("failover-shop", runbooks.Overrides{})
	require.NoError(t, err)
	r := got.Runbook
	require.Equal(t, "execute", r.Failover.Mode)
	require.True(t, *r.Failover.Reprotect)
	require.Equal(t, "signed", r.Trust)
	require.Equal(t, 20*time.Millisecond, r.Writer.Every.D())
	require.Equal(t, time.Second, r.Writer.Timeout.D())
	require.Len(t, r.Gates, 4)
	require.Equal(t, runbooks.Gate{Roles: []string{"approver"}, Count: 1, Deadline: runbooks.Duration(30 * time.Minute), FourEyes: true, Trust: "signed"}, r.Gates["approve"])
	require.Equal(t, runbooks.Gate{Count: 1, Deadline: runbooks.Duration(time.Hour), Trust: "signed"}, r.Gates["data-loss"])

	got, err = examples(t).Resolve("failover-shop-observe", runbooks.Overrides{})
	require.NoError(t, err)
	require.Equal(t, "observe", got.Runbook.Failover.Mode)
	require.Equal(t, 10*time.Minute, got.Runbook.Schedule.CatchUp.D())

	got, err = examples(t).Resolve("watch-shop", runbooks.Overrides{})
	require.NoError(t, err)
	require.Equal(t, 200*time.Millisecond, got.Runbook.Writer.Every.D())
	require.Empty(t, got.Runbook.Gates)
}

func TestResolveKeepsWhatTheRunNeeds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	estate := `estate: e
sites: {east: {}, west: {}, north: {}}
hosts: {h1: {kind: local}, h2: {kind: local}, h3: {kind: local}}
systems:
  a:
    kind: postgresql
    route: ra
    postgresql: {user: u, password: env:A, replication_user: r, replication_password: env:R}
    members:
      east: {address: "a1:1", host: h1, postgresql: {data_directory: /a1, bin_directory: /b}}
      west: {address: "a2:1", host: h2, postgresql: {data_directory: /a2, bin_directory: /b}}
  b:
    kind: postgresql
    route: rb
    postgresql: {user: u, password: env:B, replication_user: r, replication_password: env:R}
    members:
      east: {address: "b1:1", host: h3, postgresql: {data_directory: /b1, bin_directory: /b}}
      west: {address: "b2:1"}
routes:
  ra: {kind: haproxy, address: "p:1", haproxy: {runtime: ["tcp:p:9"], backend: a, servers: {east: s1, west: s2}}}
  rb: {kind: haproxy, address: "p:2", haproxy: {runtime: ["tcp:p:9"], backend: b, servers: {east: s1, west: s2}}}
people:
  dana: {roles: [admin]}
  lee: {roles: [viewer]}
`
	runbook := "runbook: r\noperation: failover\nestate: e\ntrust: unsigned\nfailover: {from: east, to: west, kind: planned, order: [[a]], reprotect: false}\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "e.yaml"), []byte(estate), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "r.yaml"), []byte(runbook), 0o600))
	folder, err := runbooks.Load(dir)
	require.NoError(t, err)
	got, err := folder.Resolve("r", runbooks.Overrides{})
	require.NoError(t, err)
	require.Len(t, got.Estate.Systems, 1)
	require.Contains(t, got.Estate.Systems, "a")
	require.Len(t, got.Estate.Routes, 1)
	require.Len(t, got.Estate.Hosts, 2)
	require.Len(t, got.Estate.Sites, 3)
	require.Len(t, got.Estate.People, 2)
	require.False(t, *got.Runbook.Failover.Reprotect)
	require.Len(t, folder.Estates()[0].Systems, 2, "the folder's own estate stays whole")
}

func TestDigestHoldsTheDocument(t *testing.T) {
	t.Parallel()
	folder := examples(t)
	first, err := folder.Resolve("failover-shop", runbooks.Overrides{})
	require.NoError(t, err)
	require.Regexp(t, "^[0-9a-f]{64}$", first.SHA256)

	again, err := examples(t).Resolve("failover-shop", runbooks.Overrides{Mode: "execute"})
	require.NoError(t, err)
	require.Equal(t, first, again, "an override that changes nothing")

	text, err := json.Marshal(first)
	require.NoError(t, err)
	var travelled runbooks.Resolved
	require.NoError(t, json.Unmarshal(text, &travelled))
	digest, err := travelled.Digest()
	require.NoError(t, err)
	require.Equal(t, first.SHA256, digest, "the same after its way through a history")

	travelled.Estate.People["lee"] = runbooks.Person{Roles: []string{"admin"}}
	digest, err = travelled.Digest()
	require.NoError(t, err)
	require.NotEqual(t, first.SHA256, digest)
}

func TestOverrides(t *testing.T) {
	t.Parallel()
	folder := examples(t)
	got, err := folder.Resolve("failover-shop", runbooks.Overrides{Mode: "observe", Kind: "unplanned", From: "west", To: "east"})
	require.NoError(t, err)
	require.Equal(t, "observe", got.Runbook.Failover.Mode)
	require.Equal(t, "unplanned", got.Runbook.Failover.Kind)
	require.Equal(t, "west", got.Runbook.Failover.From)
	require.Equal(t, "east", got.Runbook.Failover.To)
	plain, err := folder.Resolve("failover-shop", runbooks.Overrides{})
	require.NoError(t, err)
	require.Equal(t, "east", plain.Runbook.Failover.From, "an override must not stay in the folder")
	require.NotEqual(t, plain.SHA256, got.SHA256)

	tests := map[string]struct {
		runbook   string
		overrides runbooks.Overrides
		want      string
	}{
		"same site":    {"failover-shop", runbooks.Overrides{To: "east"}, `failover-shop.yaml: failover.to: as set by the start of the run: from and to are the same site "east"; expected two sites; name the site that takes over`},
		"unknown site": {"failover-shop", runbooks.Overrides{From: "wset", To: "east"}, `failover-shop.yaml: failover.from: as set by the start of the run: unknown site "wset"; expected one of east, west; did you mean "west"?`},
		"unknown mode": {"failover-shop", runbooks.Overrides{Mode: "exekute"}, `failover-shop.yaml: failover.mode: as set by the start of the run: unknown mode "exekute"; expected one of execute, observe; did you mean "execute"?`},
		"unknown kind": {"failover-shop", runbooks.Overrides{Kind: "x"}, `failover-shop.yaml: failover.kind: as set by the start of the run: unknown kind "x"; expected one of planned, unplanned`},
		"watch":        {"watch-shop", runbooks.Overrides{Mode: "observe"}, `watch-shop.yaml:19:12: operation: mode, from, to and kind cannot be set for operation watch; start it without them`},
		"unknown name": {"failover-shp", runbooks.Overrides{}, `unknown runbook "failover-shp" in .; expected one of failback-shop, failover-shop, failover-shop-observe, failover-shop-unplanned, watch-shop; did you mean "failover-shop"?`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := folder.Resolve(test.runbook, test.overrides)
			require.EqualError(t, err, test.want)
		})
	}
}

// An override may take a run to a site where a system has no member, or from observe, where nobody is asked, to execute.
func TestOverridesAreCheckedLikeTheFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	estate := `estate: e
sites: {east: {}, west: {}, north: {}}
systems:
  a:
    kind: postgresql
    postgresql: {user: u, password: env:A, replication_user: r, replication_password: env:R}
    members: {east: {address: "a1:1"}, west: {address: "a2:1"}}
`
	runbook := "runbook: r\noperation: failover\nestate: e\nfailover: {from: east, to: west, kind: planned, mode: observe, order: [[a]]}\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "e.yaml"), []byte(estate), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "r.yaml"), []byte(runbook), 0o600))
	folder, err := runbooks.Load(dir)
	require.NoError(t, err)
	_, err = folder.Resolve("r", runbooks.Overrides{To: "north"})
	require.ErrorContains(t, err, `system "a" has no member at site "north" (to); its members are at: east, west`)
	_, err = folder.Resolve("r", runbooks.Overrides{Mode: "execute"})
	require.ErrorContains(t, err, "gate approve wants 1 approval(s), and 0 people may give them: nobody")
}

func TestGateWho(t *testing.T) {
	t.Parallel()
	people := map[string]runbooks.Person{
		"dana": {Roles: []string{"operator", "approver"}}, "kim": {Roles: []string{"approver"}},
		"lee": {Roles: []string{"viewer"}}, "max": {Roles: []string{"admin"}},
	}
	require.Equal(t, []string{"dana", "kim", "max"}, runbooks.Gate{}.Who(people))
	require.Equal(t, []string{"kim"}, runbooks.Gate{Approvers: []string{"kim", "lee"}}.Who(people))
	require.Equal(t, []string{"dana", "kim"}, runbooks.Gate{Approvers: []string{"kim"}, Roles: []string{"operator"}}.Who(people))
}
