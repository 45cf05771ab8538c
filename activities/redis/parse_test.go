package redis

import (
	"errors"
	"strings"
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

const nodesText = `aa 127.0.0.1:1@2,host myself,master - 0 0 1 connected 0-5460 [93-<-292f]
bb 127.0.0.1:3@4 master,fail? - 0 0 2 connected 5461-10922 16383
cc 127.0.0.1:5@6 slave aa 0 0 1 connected
dd 127.0.0.1:7@8 master - 0 0 3 connected
`

func TestClusterNodes(t *testing.T) {
	t.Parallel()
	c, err := parseNodes(nodesText)
	require.NoError(t, err)
	require.Equal(t, clusterSelf{known: true, id: "aa", slots: 5461, first: 0, covered: 5461, masters: 2, alive: 1,
		leaders: map[string]bool{"aa": true, "bb": true}}, c)
	for what, text := range map[string]string{
		"nothing":           "",
		"not itself":        strings.Replace(nodesText, "myself,", "", 1),
		"twice itself":      strings.Replace(nodesText, "master,fail?", "myself,master", 1),
		"cut short":         "aa 127.0.0.1:1@2 myself,master - 0 0",
		"a slot too high":   strings.Replace(nodesText, "0-5460", "0-16384", 1),
		"backwards":         strings.Replace(nodesText, "0-5460", "5460-0", 1),
		"no number":         strings.Replace(nodesText, "0-5460", "0-x", 1),
		"one's own twice":   strings.Replace(nodesText, "0-5460", "0-16383 0", 1),
		"more than all are": strings.Replace(strings.Replace(nodesText, "0-5460", "0-16383", 1), ",fail?", "", 1),
	} {
		_, err := parseNodes(text)
		require.Error(t, err, what)
	}
}

func FuzzNodes(f *testing.F) {
	f.Add(nodesText)
	f.Add("aa :0@0 myself,slave,noaddr - 0 0 1 connected")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseNodes(text)
		if err != nil {
			return
		}
		require.NotEmpty(t, c.id)
		require.LessOrEqual(t, c.covered, allSlots)
		require.LessOrEqual(t, c.alive, c.masters)
		require.Equal(t, c.slots > 0, c.first >= 0)
		require.True(t, 0 <= c.slots && c.slots <= allSlots && c.first < allSlots)
	})
}

const infoText = "# Replication\r\nrole:master\r\nconnected_slaves:1\r\nslave0:ip=127.0.0.1,port=2,state=online,offset=150,lag=0\r\n" +
	"master_replid:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nmaster_repl_offset:150\r\n# Keyspace\r\ndb0:keys=7,expires=0\r\ndb3:keys=2,expires=0\r\n"

func TestInfo(t *testing.T) {
	t.Parallel()
	s := server{info: parseInfo(infoText)}
	require.NoError(t, s.whole())
	require.Equal(t, int64(9), s.keys())
	require.Equal(t, "150@aaaaaaaaaaaa", s.position())
	replica := node{addr: "127.0.0.1:2"}
	fields, online := replicaLine(s, replica, server{})
	require.True(t, online)
	require.Equal(t, "2", fields["port"])
	_, online = replicaLine(server{info: parseInfo(strings.Replace(infoText, "connected_slaves:1", "connected_slaves:9223372036854775807", 1))}, node{addr: "127.0.0.1:3"}, server{})
	require.False(t, online, "it ends with the last that is listed")
	for line, want := range map[string]string{
		"role:sentinel":           "its role",
		"role:slave":              "slave_repl_offset",
		"master_repl_offset:":     "master_repl_offset",
		"master_repl_offset:many": "master_repl_offset",
		"master_replid:":          "master_replid",
		"master_replid:aaaa":      "master_replid",
	} {
		require.ErrorContains(t, server{info: parseInfo(infoText + line + "\r\n")}.whole(), want, line)
	}
	require.Error(t, server{info: parseInfo("")}.whole())
}

func FuzzInfo(f *testing.F) {
	f.Add(infoText)
	f.Add("role:slave\nslave_repl_offset:-1\nmaster_replid:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nconnected_slaves:9999999999\ndb0:keys=")
	f.Fuzz(func(t *testing.T, text string) {
		s := server{info: parseInfo(text)}
		_, _ = s.facts(), s.older(6, 2)
		_, _ = replicaLine(s, node{addr: "127.0.0.1:2"}, s)
		if s.whole() != nil {
			return
		}
		require.Contains(t, []string{"primary", "standby"}, s.facts()["role"])
		has, related := s.has(s.position())
		require.True(t, has && related, s.position())
		require.Zero(t, s.beyond(s))
	})
}

func TestProbeOutput(t *testing.T) {
	t.Parallel()
	m, err := parseProbe("sees yes\nlistens yes\nprocess 12\nconfig yes\nwritable yes\nfence 1\nfence 2000001\nreplicaof 127.0.0.1:1\nend yes\n")
	require.NoError(t, err)
	require.Equal(t, machine{Listens: true, Processes: []string{"12"}, Config: true, Writable: true, Fence: 2000001, ReplicaOf: "127.0.0.1:1"}, m)
	m, err = parseProbe("sees yes\nend yes\n")
	require.NoError(t, err)
	require.False(t, m.running())
	for text, want := range map[string]string{
		"": "cut short", "sees yes\nconfig yes\n": "cut short", "end yes\n": "neither processes nor listeners", "sees yes\nprocess -1\nend yes\n": "a process",
		"sees yes\nprocess 0x\nend yes\n": "a process", "sees yes\nfence 99999999999999999999\nend yes\n": "min-replicas-to-write",
	} {
		_, err := parseProbe(text)
		require.ErrorContains(t, err, want, text)
	}
}

func FuzzProbe(f *testing.F) {
	f.Add("sees yes\nlistens yes\nprocess 12\nconfig yes\nfence 2000001\nreplicaof 127.0.0.1:1\nend yes\n")
	f.Add("sees yes\nprocess -1\nend")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseProbe(text)
		if err != nil {
			require.False(t, m.running() || m.fenced())
			return
		}
		require.Contains(t, text, "sees")
		require.Contains(t, text, "end")
		for _, id := range m.Processes {
			require.Regexp(t, `^\d+$`, id)
		}
	})
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
