package engine

import (
	"context"
	"fmt"
	"time"

	"go.temporal.io/api/namespace/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"
)

// awaitNamespace returns once the frontend answers for the namespace, with the retention that was
// asked for: creating a namespace changes nothing where it exists.
func awaitNamespace(ctx context.Context, address string, opts Options, f *fate) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("no answer within %s", startTimeout))
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	client := workflowservice.NewWorkflowServiceClient(conn)

	for {
		found, err := client.DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: opts.Namespace}, grpc.WaitForReady(true))
		if err == nil {
			return setRetention(ctx, client, opts, found.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration())
		}
		select {
		case err := <-f.errs:
			return bootError(err)
		case <-ctx.Done():
			return fmt.Errorf("namespace %s of the Temporal server on %s: %w: %w", opts.Namespace, address, context.Cause(ctx), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func setRetention(ctx context.Context, client workflowservice.WorkflowServiceClient, opts Options, is time.Duration) error {
	if is == opts.Retention {
		return nil
	}
	_, err := client.UpdateNamespace(ctx, &workflowservice.UpdateNamespaceRequest{
		Namespace: opts.Namespace,
		Config:    &namespace.NamespaceConfig{WorkflowExecutionRetentionTtl: durationpb.New(opts.Retention)},
	})
	if err != nil {
		return fmt.Errorf("retention of namespace %s cannot be changed from %s to %s: %w", opts.Namespace, is, opts.Retention, err)
	}
	return nil
}
