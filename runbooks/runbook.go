package runbooks

// Runbook is one operation on one estate, with its parameters, approvals, objectives and schedule.
type Runbook struct {
	Name        string          `yaml:"runbook" json:"runbook"`
	Description string          `yaml:"description,omitempty" json:"description,omitempty"`
	Operation   string          `yaml:"operation" json:"operation" jsonschema:"enum=failover,enum=watch"` // failover, watch
	Estate      string          `yaml:"estate" json:"estate"`                                             // the estate's name
	Failover    *Failover       `yaml:"failover,omitempty" json:"failover,omitempty"`
	Watch       *Watch          `yaml:"watch,omitempty" json:"watch,omitempty"`
	Gates       map[string]Gate `yaml:"gates,omitempty" json:"gates,omitempty"`
	Objectives  Objectives      `yaml:"objectives,omitempty" json:"objectives,omitzero"`
	Writer      Writer          `yaml:"writer,omitempty" json:"writer,omitzero"`
	Schedule    *Schedule       `yaml:"schedule,omitempty" json:"schedule,omitempty"`
	Window      *Window         `yaml:"window,omitempty" json:"window,omitempty"`
	// Trust says which interventions and decisions need no signature: "" or "signed", and "unsigned".
	Trust string `yaml:"trust,omitempty" json:"trust,omitempty" jsonschema:"enum=signed,enum=unsigned"`
}

// Failover holds the parameters of the operation of that name.
type Failover struct {
	From string `yaml:"from" json:"from"`
	To   string `yaml:"to" json:"to"`
	// Kind is planned (nothing may be lost) or unplanned (the old site may be gone).
	Kind string `yaml:"kind" json:"kind" jsonschema:"enum=planned,enum=unplanned"`
	// Mode is execute, or observe: the same code, ending after preflight.
	Mode string `yaml:"mode,omitempty" json:"mode,omitempty" jsonschema:"enum=execute,enum=observe"`
	// Order lists groups of systems: groups one after the other, systems of a group in parallel.
	Order [][]string `yaml:"order" json:"order"`
	// Reprotect makes the old primary follow the new one; default true.
	Reprotect *bool `yaml:"reprotect,omitempty" json:"reprotect,omitempty"`
}

// Watch holds the parameters of the operation that keeps the numbered writers running.
type Watch struct {
	Systems []string `yaml:"systems" json:"systems"`
	For     Duration `yaml:"for,omitempty" json:"for,omitzero"` // 0: until it is cancelled or aborted
}

// The gates that operations open. A runbook may say who answers each and until when.
const (
	GateApprove      = "approve"        // the plan as a whole
	GateDataLoss     = "data-loss"      // proven or possible loss of acknowledged writes
	GateNoFenceProof = "no-fence-proof" // the old primary may still accept writes
	GateTakeover     = "takeover"       // the system's own quorum cannot vote for the promotion
)

// Gate says who approves, how many, and until when.
type Gate struct {
	Approvers []string `yaml:"approvers,omitempty" json:"approvers,omitempty"` // names of people
	Roles     []string `yaml:"roles,omitempty" json:"roles,omitempty" jsonschema:"enum=viewer,enum=operator,enum=approver,enum=admin"`
	Count     int      `yaml:"count,omitempty" json:"count,omitempty" jsonschema:"minimum=1"` // distinct approvers needed; default 1
	Deadline  Duration `yaml:"deadline,omitempty" json:"deadline,omitzero"`
	FourEyes  bool     `yaml:"four_eyes,omitempty" json:"four_eyes,omitempty"` // never the requester
	Reason    bool     `yaml:"reason_required,omitempty" json:"reason_required,omitempty"`
	// Trust is signed (default), or unsigned: a bare payload counts and evidence calls its approver "claimed".
	Trust string `yaml:"trust,omitempty" json:"trust,omitempty" jsonschema:"enum=signed,enum=unsigned"`
	// Remind is when those who may answer are reminded, after the gate was opened; default half of the deadline.
	Remind Duration `yaml:"remind,omitempty" json:"remind,omitzero"`
	// Escalate is what happens at the deadline instead of rejection.
	Escalate *Escalation `yaml:"escalate,omitempty" json:"escalate,omitempty"`
	// Skip leaves the gate out; only where the runbook's author says so. Never for data-loss and no-fence-proof.
	Skip bool `yaml:"skip,omitempty" json:"skip,omitempty"`
}

// Escalation asks more people, once, when nobody decided in time.
type Escalation struct {
	Approvers []string `yaml:"approvers,omitempty" json:"approvers,omitempty"` // besides the gate's
	Roles     []string `yaml:"roles,omitempty" json:"roles,omitempty" jsonschema:"enum=viewer,enum=operator,enum=approver,enum=admin"`
	To        []string `yaml:"to,omitempty" json:"to,omitempty"` // notifiers, besides what the estate's notices say
	Deadline  Duration `yaml:"deadline" json:"deadline"`         // from then on; after it the gate is rejected
}

// Window is when a run may go on after its gate: "approve now, run in the window".
type Window struct {
	Cron     string   `yaml:"cron" json:"cron"` // when it opens
	For      Duration `yaml:"for" json:"for"`   // how long it stays open
	TimeZone string   `yaml:"time_zone,omitempty" json:"time_zone,omitempty"`
}

// Writer sets the numbered writer that measures through the route.
type Writer struct {
	Every   Duration `yaml:"every,omitempty" json:"every,omitzero"`     // default 20ms
	Timeout Duration `yaml:"timeout,omitempty" json:"timeout,omitzero"` // of one write; default 1s
	Off     bool     `yaml:"off,omitempty" json:"off,omitempty"`        // measure nothing: RTO and RPO are then "not measured"
}

// Schedule starts the runbook by Temporal's scheduler.
type Schedule struct {
	Cron     string   `yaml:"cron" json:"cron"`
	TimeZone string   `yaml:"time_zone,omitempty" json:"time_zone,omitempty"`
	CatchUp  Duration `yaml:"catch_up,omitempty" json:"catch_up,omitzero"` // default 5m: a missed start older than this is dropped
	Paused   bool     `yaml:"paused,omitempty" json:"paused,omitempty"`
}

// Resolved is what a run executes: runbook and estate as they were read, and the SHA-256 of both.
type Resolved struct {
	Runbook Runbook `json:"runbook"`
	Estate  Estate  `json:"estate"`
	SHA256  string  `json:"sha256"`
}
