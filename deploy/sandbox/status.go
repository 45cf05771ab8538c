package sandbox

import (
	"context"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Status is what runs in a sandbox, as it was observed.
type Status struct {
	Dir       string        `json:"dir"`
	Processes []Process     `json:"processes"`
	Routes    []RouteStatus `json:"routes,omitempty"`
}

// Process is one server of the sandbox.
type Process struct {
	Name   string `json:"name"` // orders/east, haproxy, east-host
	Kind   string `json:"kind"` // postgresql, haproxy, sshd
	PID    int    `json:"pid,omitempty"`
	Port   int    `json:"port,omitempty"`
	State  string `json:"state"`            // running, stopped, or not answering
	Role   string `json:"role,omitempty"`   // primary or standby, as the server itself says
	Detail string `json:"detail,omitempty"` // whom it streams from, who streams from it, or why it does not answer
}

// RouteStatus is where HAProxy sends the clients of one route.
type RouteStatus struct {
	Name    string            `json:"name"`
	Address string            `json:"address"`
	Sites   map[string]string `json:"sites"` // HAProxy's own word: "no check" (open, nothing checks it), MAINT, DRAIN
	Open    []string          `json:"open"`  // sites that get new clients
	Error   string            `json:"error,omitempty"`
}

// Status looks at every process; one that is down is a state and no error.
func (s *Sandbox) Status(ctx context.Context) (Status, error) {
	st := Status{Dir: s.state.Dir}
	for _, system := range s.state.Systems {
		for _, site := range sites {
			st.Processes = append(st.Processes, s.memberStatus(ctx, system, site))
		}
	}
	st.Processes = append(st.Processes, s.redisStatus(ctx)...)
	if s.state.SSH {
		for _, site := range sites {
			st.Processes = append(st.Processes, s.daemonStatus(hostName(site), "sshd", s.Port(hostName(site))))
		}
	}
	if !s.state.NoRoute {
		port := 0
		if s.state.RuntimeTCP {
			port = s.Port("runtime")
		}
		st.Processes = append(st.Processes, s.daemonStatus("haproxy", "haproxy", port))
		stats, err := s.routeStats(ctx)
		for _, system := range s.routedNames() {
			r := RouteStatus{Name: routeName(system), Address: loopback(s.Port(routeName(system))), Sites: stats[routeName(system)]}
			if err != nil {
				r.Error = err.Error()
			}
			for _, site := range sites {
				if text := r.Sites[site]; text == "no check" || strings.HasPrefix(text, "UP") {
					r.Open = append(r.Open, site)
				}
			}
			st.Routes = append(st.Routes, r)
		}
	}
	return st, ctx.Err()
}

func (s *Sandbox) daemonStatus(name, kind string, port int) Process {
	p := Process{Name: name, Kind: kind, Port: port, State: "stopped"}
	if d := s.proc(name); d.alive() {
		p.PID, p.State = d.PID, "running"
	}
	return p
}

func (s *Sandbox) memberStatus(ctx context.Context, system, site string) Process {
	p := Process{Name: memberName(system, site), Kind: "postgresql", Port: s.Port(memberName(system, site)), State: "stopped"}
	if p.PID = s.PID(system, site); p.PID == 0 {
		return p
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	standby, detail, err := s.ask(ctx, system, site)
	if err != nil {
		p.State, p.Detail = "not answering", err.Error()
		return p
	}
	p.State, p.Role, p.Detail = "running", "primary", detail
	if standby {
		p.Role = "standby"
	}
	return p
}

// ask asks a server what it is, and with whom it streams.
func (s *Sandbox) ask(ctx context.Context, system, site string) (standby bool, detail string, err error) {
	conn, err := s.Connect(ctx, system, site)
	if err != nil {
		return false, "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = conn.QueryRow(ctx, `SELECT pg_is_in_recovery(), CASE WHEN pg_is_in_recovery()
		THEN coalesce((SELECT 'streams from ' || sender_host || ':' || sender_port FROM pg_stat_wal_receiver WHERE status = 'streaming'), 'does not stream')
		ELSE coalesce((SELECT 'streams to ' || string_agg(application_name, ', ') FROM pg_stat_replication WHERE state = 'streaming'), 'nobody streams from it') END`).Scan(&standby, &detail)
	return standby, detail, err
}

// routeStats reads HAProxy's statistics: the status of each server, by backend.
func (s *Sandbox) routeStats(ctx context.Context) (map[string]map[string]string, error) {
	text, err := s.runtime(ctx, "show stat")
	if err != nil {
		return nil, err
	}
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "# "))).ReadAll()
	if err != nil || len(rows) == 0 {
		return nil, fmt.Errorf("HAProxy's statistics: %w", err)
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	out := map[string]map[string]string{}
	for _, row := range rows[1:] {
		backend, server := row[column["pxname"]], row[column["svname"]]
		if server == "FRONTEND" || server == "BACKEND" {
			continue
		}
		if out[backend] == nil {
			out[backend] = map[string]string{}
		}
		out[backend][server] = row[column["status"]]
	}
	return out, nil
}

// String writes the status as a table.
func (st Status) String() string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tROLE\tPID\tPORT\tDETAIL")
	number := func(n int) string {
		if n == 0 {
			return "-"
		}
		return strconv.Itoa(n)
	}
	for _, p := range st.Processes {
		role := p.Role
		if role == "" {
			role = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", p.Name, p.State, role, number(p.PID), number(p.Port), p.Detail)
	}
	for _, r := range st.Routes {
		where := "closed"
		if len(r.Open) > 0 {
			where = "open to " + strings.Join(r.Open, ", ")
		}
		if r.Error != "" {
			where = r.Error
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, "route", "-", "-", r.Address[strings.LastIndexByte(r.Address, ':')+1:], where)
	}
	_ = w.Flush() // a strings.Builder takes everything
	return text.String()
}
