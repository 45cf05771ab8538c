package run

import (
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

var (
	keyEstate    = temporal.NewSearchAttributeKeyKeyword(AttributeEstate)
	keyOperation = temporal.NewSearchAttributeKeyKeyword(AttributeOperation)
	keyState     = temporal.NewSearchAttributeKeyKeyword(AttributeState)
	keyVerdict   = temporal.NewSearchAttributeKeyKeyword(AttributeVerdict)
	keyPlanHash  = temporal.NewSearchAttributeKeyKeyword(AttributePlanHash)
)

// SearchAttributes lists the attributes that a cluster must know for muster's runs to be searchable; all are keywords.
func SearchAttributes() []string {
	return []string{AttributeEstate, AttributeOperation, AttributeState, AttributeVerdict, AttributePlanHash}
}

func (r *Run) setState(ctx workflow.Context, s State) {
	changed := r.state != s || len(r.entries) <= 1
	r.state = s
	r.show(ctx)
	if !changed || !r.attributes {
		return
	}
	updates := []temporal.SearchAttributeUpdate{
		keyEstate.ValueSet(r.header.Estate), keyOperation.ValueSet(r.header.Operation), keyState.ValueSet(string(s)),
	}
	if r.plan != nil {
		updates = append(updates, keyPlanHash.ValueSet(r.plan.Hash))
	}
	if r.verdict != "" {
		updates = append(updates, keyVerdict.ValueSet(string(r.verdict)))
	}
	if err := workflow.UpsertTypedSearchAttributes(ctx, updates...); err != nil {
		panic(err) // attributes of fixed names and types: a defect
	}
}
