package postgres

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLSN(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]lsn{
		"0/0": 0, "0/3000148": 0x3000148, "16/B374D848": 0x16B374D848, "FFFFFFFF/FFFFFFFF": 0xFFFFFFFFFFFFFFFF, "0/03000028": 0x3000028,
	} {
		got, err := parseLSN(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got)
	}
	require.Equal(t, "16/B374D848", lsn(0x16B374D848).String())
	for _, text := range []string{"", "/", "0", "0/", "/0", "1/2/3", "0/-1", "0/+1", "0/G", "000000000/0", "0/123456789", " 0/1", "0/1 ", "0x1/2"} {
		_, err := parseLSN(text)
		require.Error(t, err, text)
	}
}

func FuzzLSN(f *testing.F) {
	f.Add("16/B374D848")
	f.Add("0/")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseLSN(text)
		if err != nil {
			return
		}
		again, err := parseLSN(got.String())
		require.NoError(t, err)
		require.Equal(t, got, again)
	})
}

// A record that starts at the position is replayed when the replay position is greater: records end where the next one begins.
func TestBeyond(t *testing.T) {
	t.Parallel()
	require.False(t, beyond(0x3000028, 0x3000028))
	require.True(t, beyond(0x30000A0, 0x3000028))
	require.False(t, beyond(0x3000000, 0x3000028))
}

func TestRecordEnd(t *testing.T) {
	t.Parallel()
	const page, segment = 8192, 16 << 20
	for name, test := range map[string]struct {
		start  lsn
		length uint64
		want   lsn
	}{
		"aligned":                {0x3000028, 114, 0x30000A0},
		"already a multiple":     {0x3000028, 104, 0x3000090},
		"to the end of its page": {0x3001FD8, 40, 0x3002000},
		"over a page":            {0x3001FD8, 48, 0x3002020},
		"over a segment":         {0x3FFFFD8, 48, 0x4000030},
		"over several pages":     {0x3000028, 20000, 0x3000028 + 20000 + 2*24},
	} {
		require.Equal(t, test.want, recordEnd(test.start, test.length, page, segment), "%s: %s", name, recordEnd(test.start, test.length, page, segment))
	}
	require.Equal(t, lsn(110), recordEnd(100, 10, 0, 0))
}

func TestControl(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("testdata", "controldata-15.txt"))
	require.NoError(t, err)
	c, err := parseControl(string(text))
	require.NoError(t, err)
	require.Regexp(t, `^\d{19}$`, c.SystemID)
	require.Equal(t, stateShutDown, c.State)
	require.True(t, c.clean())
	require.Equal(t, uint32(1), c.Timeline)
	require.Equal(t, c.Redo, c.Checkpoint)
	require.NotZero(t, c.Checkpoint)
	require.Zero(t, c.MinRecovery)
	require.Equal(t, uint64(8192), c.Page)
	require.Equal(t, uint64(16<<20), c.Segment)
	require.False(t, c.Checksums)
	require.False(t, c.WALLogHints)
	require.True(t, c.FullPageWrite)
	require.False(t, c.rewindable())

	change := func(from, to string) control {
		t.Helper()
		changed := strings.Replace(string(text), from, to, 1)
		require.NotEqual(t, string(text), changed)
		got, err := parseControl(changed)
		require.NoError(t, err)
		return got
	}
	require.True(t, change("wal_log_hints setting:                off", "wal_log_hints setting:                on").rewindable())
	require.True(t, change("Data page checksum version:           0", "Data page checksum version:           1").rewindable())
	require.False(t, change("Database cluster state:               shut down", "Database cluster state:               in production").clean())
	require.True(t, change("Database cluster state:               shut down", "Database cluster state:               shut down in recovery").clean())

	for _, name := range []string{"Database system identifier", "Database cluster state", "Latest checkpoint location", "Latest checkpoint's TimeLineID", "WAL block size"} {
		_, err := parseControl(strings.Replace(string(text), name, "Other", 1))
		require.Error(t, err, name)
	}
	_, err = parseControl("pg_controldata: fatal: could not open file")
	require.Error(t, err)
}

func FuzzControl(f *testing.F) {
	text, err := os.ReadFile(filepath.Join("testdata", "controldata-15.txt"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add("Database cluster state: shut down\nDatabase system identifier: 1")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseControl(text)
		if err == nil {
			require.NotEmpty(t, c.SystemID)
			require.NotEmpty(t, c.State)
		}
	})
}

func TestWALRecord(t *testing.T) {
	t.Parallel()
	got, err := parseWALRecord("rmgr: XLOG        len (rec/tot):    114/   114, tx:          0, lsn: 0/03000028, prev 0/02000110, desc: CHECKPOINT_SHUTDOWN redo 0/3000028; tli 1")
	require.NoError(t, err)
	require.Equal(t, walRecord{Start: 0x3000028, Length: 114}, got)
	got, err = parseWALRecord("rmgr: Heap        len (rec/tot):     54/  8234, tx:        735, lsn: 1F/FE0A0B48, prev 1F/FE0A0B10, desc: INSERT off 3 flags 0x00, blkref #0: rel 1663/16384/16385 blk 0 FPW")
	require.NoError(t, err)
	require.Equal(t, walRecord{Start: 0x1FFE0A0B48, Length: 8234}, got)
	for _, line := range []string{
		"", "pg_waldump: error: could not find a valid record", "rmgr: XLOG len (rec/tot): 1/ x, tx: 0, lsn: 0/1, ",
		"rmgr: XLOG len (rec/tot): 1/ 99999999999, tx: 0, lsn: 0/1, prev",
	} {
		_, err := parseWALRecord(line)
		require.Error(t, err, line)
	}
}

func FuzzWALRecord(f *testing.F) {
	f.Add("rmgr: XLOG        len (rec/tot):    114/   114, tx:          0, lsn: 0/03000028, prev 0/02000110, desc: X")
	f.Fuzz(func(t *testing.T, line string) { _, _ = parseWALRecord(line) })
}

func TestHistory(t *testing.T) {
	t.Parallel()
	got, err := parseHistory("1\t0/3000148\tno recovery target specified\n\n# a comment\n2\t0/5000148\tbefore 2026-01-01 00:00:00+00\n")
	require.NoError(t, err)
	require.Equal(t, []fork{{1, 0x3000148}, {2, 0x5000148}}, got)
	require.Equal(t, "0000000A.history", historyFile(10))
	for _, text := range []string{"1", "x\t0/1\t", "1\tx\t", "-1\t0/1"} {
		_, err := parseHistory(text)
		require.Error(t, err, text)
	}
}

func FuzzHistory(f *testing.F) {
	f.Add("1\t0/3000148\tno recovery target specified\n")
	f.Fuzz(func(t *testing.T, text string) { _, _ = parseHistory(text) })
}

func TestProbeOutput(t *testing.T) {
	t.Parallel()
	got, text := parseProbe("sees yes\ndir yes\nowner yes\nparent yes\nstandby yes\nbusy yes\njob r/rewind/1 failed: pg_basebackup: x\nprocess 12\nprocess 13\nzombie 9\ncontrol\npg_control version number: 1300\n")
	require.Equal(t, machine{
		Sees: true, Dir: true, Owner: true, Parent: true, Standby: true, Busy: true, Zombie: true, Job: "r/rewind/1 failed: pg_basebackup: x", Processes: []string{"12", "13"},
	}, got)
	require.Equal(t, "pg_control version number: 1300\n", text)
	got, text = parseProbe("sees yes\ndir yes\njob r/rewind/1 failed: no access control\nprocess 12\ncontrol\npg_control version number: 1300\n")
	require.True(t, got.running(), "a job's last word hides no process")
	require.Equal(t, "pg_control version number: 1300\n", text)
	got, text = parseProbe("")
	require.Equal(t, machine{}, got)
	require.Empty(t, text)
}

var processLine = regexp.MustCompile(`(?m)^process( |$)`)

func FuzzProbe(f *testing.F) {
	f.Add("sees yes\ndir yes\nowner yes\nprocess 12\nnewest 00000002 0/3000148\ncontrol\npg_control version number: 1300\n")
	f.Add("dir yes\ncontrol")
	f.Add("processcontrol\nprocess 12")
	f.Fuzz(func(t *testing.T, text string) {
		m, controlText := parseProbe(text)
		require.True(t, strings.HasSuffix(text, controlText))
		head := strings.TrimSuffix(text, controlText)
		require.Equal(t, m.running(), processLine.MatchString(head), "a line of a process is one")
		c := control{State: stateInProduction, Timeline: 1, Redo: 1}
		if got, err := c.promoted(m.Newest); err == nil {
			require.GreaterOrEqual(t, got.Timeline, c.Timeline)
		}
	})
}

func TestQuoting(t *testing.T) {
	t.Parallel()
	require.Equal(t, `host='a' password='it\'s \\ "so"'`, conninfo("host", "a", "user", "", "password", `it's \ "so"`))
	require.Equal(t, `'a\\b''c'`, quoteSetting(`a\b'c`))
	require.Equal(t, `'a\b''c'`, quoteLiteral(`a\b'c`))
	require.NotContains(t, quoteSetting("a\nb"), "\n")
}
