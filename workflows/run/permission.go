package run

import "slices"

// Permission is something that people may do with a run.
type Permission string

// What people may do.
const (
	MayLook      Permission = "look"
	MayIntervene Permission = "intervene"
	MayDecide    Permission = "decide"
)

// Permissions says which roles may do what. A gate may ask for more than this: see runbooks.Gate.
var Permissions = map[Permission][]string{
	MayLook:      {"viewer", "operator", "approver", "admin"},
	MayIntervene: {"operator", "admin"},
	MayDecide:    {"approver", "admin"},
}

// To says whether somebody with these roles may.
func (p Permission) To(roles []string) bool {
	return slices.ContainsFunc(roles, func(role string) bool { return slices.Contains(Permissions[p], role) })
}
