// Package failover moves the systems of an estate from one site to another, planned or unplanned. Failback is the same
// operation the other way.
package failover

import "github.com/musterhq/muster/activities"

// Name is the workflow type, and Operation how runbooks and workflow IDs call it. Both are frozen.
const (
	Name      = "Failover"
	Operation = "failover"
)

// Phases, in their order.
const (
	phaseObserve   = "observe"
	phasePreflight = "preflight"
	phaseGate      = "gate"
	phaseLock      = "lock"
	phaseMeasure   = "measure"
	phasePrepare   = "prepare"
	phaseFence     = "fence"
	phaseCatchUp   = "catch-up"
	phasePromote   = "promote"
	phaseRoute     = "route"
	phaseVerify    = "verify"
	phaseReprotect = "re-protect"
	phaseUndo      = "undo"
)

// seen is what one look at the estate found.
type seen struct {
	systems map[string]activities.PreflightResult
	routes  map[string]activities.RouteState
}
