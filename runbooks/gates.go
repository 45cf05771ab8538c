package runbooks

import "slices"

var gateNames = []string{GateApprove, GateDataLoss, GateNoFenceProof, GateTakeover}

// Who lists, in order, the people that may answer g: those it names and those who have its roles, or everybody where it
// names neither; and of them only who is an approver or an admin.
func (g Gate) Who(people map[string]Person) []string {
	var who []string
	//workflowcheck:ignore the keys are sorted
	for _, name := range sorted(people) {
		named := len(g.Approvers) == 0 && len(g.Roles) == 0 || slices.Contains(g.Approvers, name)
		for _, role := range people[name].Roles {
			named = named || slices.Contains(g.Roles, role)
		}
		if named && people[name].approves() {
			who = append(who, name)
		}
	}
	return who
}

// GateTrust returns signed or unsigned: what the gate says, else what the runbook says, else signed.
func (r Runbook) GateTrust(gate string) string {
	for _, trust := range []string{r.Gates[gate].Trust, r.Trust} {
		if trust != "" {
			return trust
		}
	}
	return "signed"
}

func (p Person) approves() bool {
	return slices.Contains(p.Roles, "approver") || slices.Contains(p.Roles, "admin")
}
