package haproxy

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const columns = "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state\n"

func TestParseServers(t *testing.T) {
	t.Parallel()
	servers, err := parseServers("1\n"+columns+"3 b 1 east 127.0.0.1 2 0 1 1 1 6 3 4 6 0\n3 b 2 west 127.0.0.1 0 5 1 1 1 1 0 0 8 0\n", "b")
	require.NoError(t, err)
	require.True(t, servers["east"].open())
	require.Equal(t, "up", servers["east"].health())
	require.True(t, servers["west"].closed())
	for name, text := range map[string]string{
		"empty":             "",
		"another version":   "2\n" + columns,
		"no column names":   "1\n3 b 1 east 127.0.0.1 2 0 1 1 1 6 3 4 6 0\n",
		"a missing column":  "1\n" + strings.Replace(columns, "srv_admin_state", "srv_admin", 1),
		"a short line":      "1\n" + columns + "3 b 1 east 127.0.0.1 2 0 1 1 1 6 3 4 6\n",
		"a long line":       "1\n" + columns + "3 b 1 east 127.0.0.1 2 0 1 1 1 6 3 4 6 0 0\n",
		"another backend":   "1\n" + columns + "3 c 1 east 127.0.0.1 2 0 1 1 1 6 3 4 6 0\n",
		"not a number":      "1\n" + columns + "3 b 1 east 127.0.0.1 x 0 1 1 1 6 3 4 6 0\n",
		"a negative number": "1\n" + columns + "3 b 1 east 127.0.0.1 2 -1 1 1 1 6 3 4 6 0\n",
		"twice":             "1\n" + columns + strings.Repeat("3 b 1 east 127.0.0.1 2 0 1 1 1 6 3 4 6 0\n", 2),
		"an empty line":     "1\n" + columns + "\n3 b 1 east 127.0.0.1 2 0 1 1 1 6 3 4 6 0\n",
	} {
		_, err := parseServers(text, "b")
		require.Error(t, err, name)
	}
}

func TestServerWords(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		s            server
		open, closed bool
		health       string
	}{
		{server{op: 2, weight: 1, checkState: 6, checkResult: 3}, true, false, "up"},
		{server{op: 1, weight: 1, checkState: 6, checkResult: 4}, true, false, "up"},
		{server{op: 2, weight: 1, checkState: 6}, true, false, "up (check not passed yet)"},
		{server{op: 2, weight: 1, admin: 0x04}, true, false, "up (no check)"}, // disabled in the file, enabled since
		{server{op: 2, weight: 1, admin: 0x40}, true, false, "up (no check)"}, // its name was set at run time
		{server{op: 2, weight: 0}, false, false, "up (no check)"},
		{server{op: 3, weight: 1}, false, false, "stopping"},
		{server{op: 0, weight: 1}, false, false, "down"},
		{server{op: 0, weight: 1, admin: 0x01}, false, true, "maint"},
		{server{op: 0, weight: 1, admin: 0x05}, false, true, "maint"},
		{server{op: 0, weight: 1, admin: 0x02}, false, false, "maint"}, // inherited: ends when the tracked server's does
		{server{op: 0, weight: 1, admin: 0x20}, false, false, "address not resolved"},
		{server{op: 2, weight: 1, admin: 0x08}, false, false, "drain"},
	} {
		require.Equal(t, test.open, test.s.open(), "%+v", test.s)
		require.Equal(t, test.closed, test.s.closed(), "%+v", test.s)
		require.Equal(t, test.health, test.s.health(), "%+v", test.s)
	}
}

func TestParseSessions(t *testing.T) {
	t.Parallel()
	sessions, err := parseSessions("# pxname,svname,qcur,scur,check_desc,\nb,east,0,7,\"a, b\",\nb,west,0,0,,\n", "b")
	require.NoError(t, err)
	require.Equal(t, map[string]int{"east": 7, "west": 0}, sessions)
	for name, text := range map[string]string{
		"empty":           "",
		"no column names": "b,east,0,7\n",
		"no scur":         "# pxname,svname,qcur\nb,east,0\n",
		"a short row":     "# pxname,svname,qcur,scur\nb,east,0\n",
		"not a number":    "# pxname,svname,qcur,scur\nb,east,0,\n",
		"another backend": "# pxname,svname,qcur,scur\nc,east,0,1\n",
		"twice":           "# pxname,svname,qcur,scur\nb,east,0,1\nb,east,0,1\n",
		"an open quote":   "# pxname,svname,qcur,scur\nb,\"east,0,1\n",
	} {
		_, err := parseSessions(text, "b")
		require.Error(t, err, name)
	}
}

func FuzzParseServers(f *testing.F) {
	f.Add("1\n" + columns + "3 b 1 east 127.0.0.1 2 0 1 1 1 6 3 4 6 0\n")
	f.Add("1\n# be_name srv_name srv_op_state srv_admin_state srv_uweight srv_check_result srv_check_state\nb x 2 0 1 3 6")
	f.Fuzz(func(t *testing.T, text string) {
		servers, err := parseServers(text, "b")
		if err != nil {
			require.Nil(t, servers)
			return
		}
		for name, s := range servers {
			require.Equal(t, name, s.name)
			require.NotEmpty(t, name)
			require.False(t, s.open() && s.closed())
			require.GreaterOrEqual(t, min(s.op, s.admin, s.weight), 0)
		}
	})
}

func FuzzParseSessions(f *testing.F) {
	f.Add("# pxname,svname,qcur,scur\nb,east,0,7\n")
	f.Fuzz(func(t *testing.T, text string) {
		sessions, err := parseSessions(text, "b")
		if err != nil {
			require.Nil(t, sessions)
			return
		}
		for _, n := range sessions {
			require.GreaterOrEqual(t, n, 0)
		}
	})
}
