package haproxy

import (
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Bits of srv_admin_state and values of srv_op_state (management guide, "show servers state").
const (
	forcedMaint    = 0x01 // by the runtime API or the configuration; nothing but `state ready` takes it back
	inheritedMaint = 0x02
	resolveMaint   = 0x20
	anyDrain       = 0x08 | 0x10

	opStarting = 1
	opRunning  = 2
	opStopping = 3

	checkEnabled = 0x02 | 0x04 // srv_check_state: configured and enabled
	checkPassed  = 3           // srv_check_result; 4 is passed with conditions
)

// server is one server of a backend as one process sees it.
type server struct {
	name        string
	op          int
	admin       int
	weight      int
	checkState  int
	checkResult int
	sessions    int
}

// closed reports whether the server is in maintenance by force: no health check and no tracked server brings it back.
func (s server) closed() bool { return s.admin&forcedMaint != 0 }

// open reports whether new clients are sent to the server.
func (s server) open() bool {
	return s.admin&(forcedMaint|inheritedMaint|resolveMaint|anyDrain) == 0 && (s.op == opStarting || s.op == opRunning) && s.weight > 0
}

// health is the server's health in a word or two.
func (s server) health() string {
	switch {
	case s.admin&(forcedMaint|inheritedMaint) != 0:
		return "maint"
	case s.admin&resolveMaint != 0:
		return "address not resolved"
	case s.admin&anyDrain != 0:
		return "drain"
	case s.op == opStopping:
		return "stopping"
	case s.op != opStarting && s.op != opRunning:
		return "down"
	case s.checkState&checkEnabled != checkEnabled:
		return "up (no check)"
	case s.checkResult < checkPassed:
		return "up (check not passed yet)"
	}
	return "up"
}

func (s server) raw() string {
	return fmt.Sprintf("op=%d admin=0x%02x weight=%d check=%d scur=%d", s.op, s.admin, s.weight, s.checkResult, s.sessions)
}

// parseServers reads the answer to `show servers state BACKEND`: a version, a line of column names, a line per server.
// Columns are found by name, as versions of HAProxy add some. Anything else is an error.
func parseServers(text, backend string) (map[string]server, error) {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) < 2 || strings.TrimSpace(lines[0]) != "1" {
		return nil, fmt.Errorf("servers state: expected version 1 of the format, got %q", firstLine(text))
	}
	header, found := strings.CutPrefix(lines[1], "# ")
	if !found {
		return nil, fmt.Errorf("servers state: expected a line of column names, got %q", firstLine(lines[1]))
	}
	columns := strings.Fields(header)
	index, err := find(columns, "be_name", "srv_name", "srv_op_state", "srv_admin_state", "srv_uweight", "srv_check_result", "srv_check_state")
	if err != nil {
		return nil, fmt.Errorf("servers state: %w", err)
	}
	servers := map[string]server{}
	for _, line := range lines[2:] {
		fields := strings.Fields(line)
		if len(fields) != len(columns) {
			return nil, fmt.Errorf("servers state: %d fields for %d columns in %q", len(fields), len(columns), firstLine(line))
		}
		if fields[index[0]] != backend {
			return nil, fmt.Errorf("servers state: asked for backend %s, got %q", backend, fields[index[0]])
		}
		s := server{name: fields[index[1]]}
		for i, into := range []*int{&s.op, &s.admin, &s.weight, &s.checkResult, &s.checkState} {
			if *into, err = number(fields[index[i+2]]); err != nil {
				return nil, fmt.Errorf("servers state: server %s, column %s: %w", s.name, columns[index[i+2]], err)
			}
		}
		if _, double := servers[s.name]; double {
			return nil, fmt.Errorf("servers state: server %s twice", s.name)
		}
		servers[s.name] = s
	}
	return servers, nil
}

// parseSessions reads the answer to `show stat BACKEND 4 -1` (CSV): the current sessions of each server.
func parseSessions(text, backend string) (map[string]int, error) {
	header, found := strings.CutPrefix(text, "# ")
	if !found {
		return nil, fmt.Errorf("statistics: expected a line of column names, got %q", firstLine(text))
	}
	rows, err := csv.NewReader(strings.NewReader(header)).ReadAll() // refuses rows of another length than the first
	if err != nil {
		return nil, fmt.Errorf("statistics: %w", err)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("statistics: empty")
	}
	index, err := find(rows[0], "pxname", "svname", "scur")
	if err != nil {
		return nil, fmt.Errorf("statistics: %w", err)
	}
	sessions := map[string]int{}
	for _, row := range rows[1:] {
		name := row[index[1]]
		if row[index[0]] != backend {
			return nil, fmt.Errorf("statistics: asked for backend %s, got %q", backend, row[index[0]])
		}
		if _, double := sessions[name]; double {
			return nil, fmt.Errorf("statistics: server %s twice", name)
		}
		if sessions[name], err = number(row[index[2]]); err != nil {
			return nil, fmt.Errorf("statistics: server %s, column scur: %w", name, err)
		}
	}
	return sessions, nil
}

func find(columns []string, names ...string) ([]int, error) {
	index := make([]int, len(names))
	for i, name := range names {
		if index[i] = slices.Index(columns, name); index[i] < 0 {
			return nil, fmt.Errorf("no column %s", name)
		}
	}
	return index, nil
}

func number(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	return int(n), nil
}
