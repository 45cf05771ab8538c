package runbooks

import "reflect"

// keyHelp says what each key means: editors show it while one types, and README.md holds the same list.
// The names are those of the YAML, below the Go type that has the key.
var keyHelp = map[string]map[string]string{
	"Estate": {
		"estate":     "The estate's name. It stands in the names of its runs and locks: do not change it while runs are open",
		"sites":      "The places that can carry the estate, by name",
		"hosts":      "How the machines of members are reached to run commands on them, by name",
		"systems":    "What moves, by name: one thing with a member at each site. At most 2000",
		"routes":     "What sends clients to a site, by name",
		"people":     "Who may look, start, approve and intervene, by name",
		"objectives": "What every run of the estate is measured against, unless its system or runbook says otherwise",
	},
	"Site": {"description": "For people"},
	"Host": {
		"kind":        "local (the worker's own machine) or ssh. ssh needs address, user, key and known_hosts",
		"address":     "ssh: host:port of its sshd",
		"user":        "ssh: the login user",
		"key":         "ssh: the private key, by reference",
		"known_hosts": "ssh: path of the known_hosts file on the worker. A host that is not in it is refused",
		"run_as":      "Run commands as this user (local: the worker must be root; ssh: by sudo -n -u)",
		"timeout":     "How long connecting may take; default 5s",
	},
	"System": {
		"kind":       "postgresql",
		"route":      "The route that its clients come by. A route has one system",
		"postgresql": "kind postgresql: what all members share",
		"members":    "The system at each site, by the site's name",
		"objectives": "What a move of this system is measured against",
	},
	"Member": {
		"address":    "host:port as the worker reaches it",
		"host":       "The host it runs on. Without one nothing can be stopped there, and fencing proves less",
		"postgresql": "kind postgresql: what this server has of its own. Needed where the member has a host",
	},
	"PostgreSQL": {
		"user":                 "The role the driver logs in as: a superuser, or pg_monitor with the rights that the driver's page lists",
		"password":             "Its password, by reference",
		"database":             "The database to connect to, where the numbered writer has its table; default postgres",
		"sslmode":              "As libpq has it",
		"replication_user":     "The role that a standby streams as",
		"replication_password": "Its password, by reference",
	},
	"PostgreSQLMember": {
		"data_directory":  "Absolute path of the data directory",
		"bin_directory":   "Absolute path of the server's own programs: pg_ctl, pg_rewind, pg_basebackup, pg_controldata",
		"config_file":     "Absolute path of postgresql.conf, where it is not in the data directory",
		"slot":            "The physical replication slot that this member uses when it is a standby",
		"primary_address": "host:port as the other member's walreceiver reaches this server; default address",
	},
	"Route": {
		"kind":    "haproxy",
		"address": "host:port where clients connect",
		"haproxy": "kind haproxy: the backend and its servers",
	},
	"HAProxyRoute": {
		"runtime": "The runtime API of each proxy process: unix:/path/to/socket or tcp:host:port",
		"backend": "The backend that clients of this route reach",
		"servers": "The backend's server at each site, by the site's name",
	},
	"Person": {
		"name":  "The full name, for people",
		"roles": "viewer looks, operator starts and intervenes, approver answers gates, admin does all",
		"keys":  "SSH public keys, each one line as in a .pub file. What a person signs with one of them counts as the person's",
		"email": "Where notices go",
		"slack": "The person's member ID in Slack",
	},
	"Objectives": {
		"rto":           "The longest outage that clients may see",
		"lost_writes":   "How many acknowledged writes may be missing afterwards",
		"max_lag_bytes": "Replication lag above which preflight refuses, in bytes",
		"max_lag":       "Replication lag above which preflight refuses, in time",
	},
	"Runbook": {
		"runbook":     "The runbook's name: what muster run takes",
		"description": "One line for people",
		"operation":   "failover or watch. The key of the same name has its parameters",
		"estate":      "The name of the estate, which another file of the folder has",
		"failover":    "operation failover: from where to where",
		"watch":       "operation watch: what is watched",
		"gates":       "Who answers which gate, by the gate's name: approve, data-loss, no-fence-proof",
		"objectives":  "What a run is measured against; before those of system and estate",
		"writer":      "The numbered writer that measures through the route",
		"schedule":    "When Temporal's scheduler starts the runbook by itself",
		"trust":       "signed (default) or unsigned: whether decisions and interventions must be signed. A gate may say otherwise for itself",
	},
	"Failover": {
		"from":      "The site that carries the systems now",
		"to":        "The site that takes over",
		"kind":      "planned (nothing may be lost) or unplanned (the old site may be gone)",
		"mode":      "execute (default), or observe: the same code, ending after preflight",
		"order":     "Groups of systems: groups move one after the other, systems of a group in parallel",
		"reprotect": "Whether the old primary is made to follow the new one; default true",
	},
	"Watch": {
		"systems": "The systems whose routes are written through",
		"for":     "How long; default until somebody stops it",
	},
	"Gate": {
		"approvers":       "Names of people who may answer. Each needs the role approver or admin",
		"roles":           "Roles whose people may answer, besides approvers. Neither set: every approver and admin",
		"count":           "How many different people must approve; default 1",
		"deadline":        "How long the gate stays open; default 1h. What is not approved by then is rejected",
		"four_eyes":       "Whoever asked for the run cannot approve it; default false",
		"reason_required": "A decision must give a reason; default false",
		"trust":           "signed or unsigned, for this gate; default as the runbook says",
		"skip":            "Leave the gate out. Only gate approve can be left out",
	},
	"Writer": {
		"every":   "The time between two writes; default 20ms",
		"timeout": "How long one write may take; default 1s",
		"off":     "Measure nothing: outage and lost writes are then reported as not measured",
	},
	"Schedule": {
		"cron":      "Five fields: minute hour day month weekday. Where day and weekday are both set, both must match",
		"time_zone": "The zone that the fields are read in, such as Europe/Berlin; default UTC",
		"catch_up":  "A start that was missed by more than this is dropped; default 5m, at least 10s",
		"paused":    "Keep the schedule, start nothing",
	},
}

// keyTypes lists the types of both kinds of files, the files' own types first.
var keyTypes = []reflect.Type{
	reflect.TypeFor[Estate](), reflect.TypeFor[Site](), reflect.TypeFor[Host](), reflect.TypeFor[System](), reflect.TypeFor[PostgreSQL](),
	reflect.TypeFor[Member](), reflect.TypeFor[PostgreSQLMember](), reflect.TypeFor[Route](), reflect.TypeFor[HAProxyRoute](),
	reflect.TypeFor[Person](), reflect.TypeFor[Objectives](),
	reflect.TypeFor[Runbook](), reflect.TypeFor[Failover](), reflect.TypeFor[Watch](), reflect.TypeFor[Gate](), reflect.TypeFor[Writer](),
	reflect.TypeFor[Schedule](),
}
