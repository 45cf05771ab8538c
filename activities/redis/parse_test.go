package redis

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/runbooks"
)

// The checksum of "123456789" is the one that the specification of Redis Cluster gives.
func TestSlots(t *testing.T) {
	t.Parallel()
	require.Equal(t, 0x31C3%allSlots, slotOf("123456789"))
	require.Equal(t, 12182, slotOf("foo"))
	for _, slot := range []int{0, 5461, allSlots - 1} {
		require.Equal(t, slot, slotOf(keyIn(slot)))
	}
}

func TestClusterNodes(t *testing.T) {
	t.Parallel()
	c := parseNodes(`aa 127.0.0.1:1@2,host myself,master - 0 0 1 connected 0-5460 [93-<-292f]
bb 127.0.0.1:3@4 master,fail? - 0 0 2 connected 5461-10922 16383
cc 127.0.0.1:5@6 slave aa 0 0 1 connected
dd 127.0.0.1:7@8 master - 0 0 3 connected
`)
	require.Equal(t, clusterSelf{known: true, id: "aa", slots: 5461, first: 0, covered: 5461, masters: 2, alive: 1,
		leaders: map[string]bool{"aa": true, "bb": true}}, c)
}

type said string

func (s said) Error() string { return string(s) }
func (said) RedisError()     {}

func TestErrorTypes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"WRONGPASS invalid username-password pair or user is disabled.":               activities.ErrAuth,
		"NOAUTH Authentication required.":                                             activities.ErrAuth,
		"DENIED Redis is running in protected mode because protected mode is enabled": activities.ErrAuth,
		"NOREPLICAS Not enough good replicas to write.":                               activities.ErrRefused,
		"READONLY You can't write against a read only replica.":                       activities.ErrRefused,
		"LOADING Redis is loading the dataset in memory":                              activities.ErrNotYet,
		"ERR Rewriting config file: Permission denied":                                activities.ErrConfig,
		"ERR No such master with that name":                                           activities.ErrConfig,
		"ERR max number of clients reached":                                           activities.ErrUnreachable,
		"ERR something new":                                                           activities.ErrUnknown,
	} {
		require.Equal(t, want, activities.TypeOf(mapError("op", said(text))), text)
	}
	require.Equal(t, activities.ErrUnreachable, activities.TypeOf(mapError("op", errors.New("read: connection reset by peer"))))
	require.NoError(t, mapError("op", nil))
}

func TestProtectedModeIsNamed(t *testing.T) {
	t.Parallel()
	p := &preflight{move: activities.Move{From: "east", To: "west"}, to: []seen{{err: mapError("ask", said("DENIED Redis is running in protected mode"))}}}
	p.answers()
	require.Equal(t, codeProtected, p.found[0].Code)
}

func TestLineage(t *testing.T) {
	t.Parallel()
	old := server{info: map[string]string{"role": "master", "master_replid": "aaaaaaaaaaaaaaaa", "master_repl_offset": "150"}}
	next := server{info: map[string]string{"role": "master", "master_replid": "bbbbbbbbbbbbbbbb", "master_replid2": "aaaaaaaaaaaaaaaa",
		"second_repl_offset": "101", "master_repl_offset": "300"}}
	require.Equal(t, int64(50), next.beyond(old), "the new one went on from byte 100")
	for position, want := range map[string][2]bool{
		"100@aaaaaaaaaaaa": {true, true}, "101@aaaaaaaaaaaa": {false, true}, "300@bbbbbbbbbbbb": {true, true}, "1@cccccccccccc": {false, false}, "x": {false, false},
	} {
		has, related := next.has(position)
		require.Equal(t, want, [2]bool{has, related}, position)
	}
	old.info["master_replid"] = "c"
	require.Equal(t, int64(-1), next.beyond(old))
}

// Valkey is not in Debian 12: this is what its INFO documents (valkey.io/commands/info), no server's answer.
func TestVersions(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		version string
		old     bool
	}{
		"redis_version:6.0.16": {"6.0.16", true}, "redis_version:5.0.14": {"5.0.14", true}, "redis_version:6.2.0": {"6.2.0", false},
		"redis_version:7.0.15": {"7.0.15", false}, "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.0.1": {"valkey 8.0.1", false}, "": {"", false},
	} {
		s := server{info: parseInfo(text)}
		require.Equal(t, want.version, s.version())
		require.Equal(t, want.old, s.older(6, 2), text)
	}
}

func TestAnOldVersionIsNamed(t *testing.T) {
	t.Parallel()
	old := seen{node: node{addr: "127.0.0.1:1", redis: &runbooks.Redis{}}, server: &server{info: map[string]string{"redis_version": "6.0.16"}}}
	target := activities.Target{System: runbooks.System{Redis: &runbooks.Redis{Shape: runbooks.RedisReplication}}}
	p := &preflight{move: activities.Move{Target: target, From: "east", To: "west", Planned: true}, from: []seen{old}}
	p.answers()
	require.Len(t, p.found, 1)
	require.Equal(t, codeVersion, p.found[0].Code)
	require.True(t, p.found[0].Refuse)
}
