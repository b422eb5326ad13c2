// Asks a model with generated stubs alone: the signature first, then zeros as typed values.
//
//	caller ADDRESS MODEL
//
// For models that take FP32, FP16 or BF16. An API key is taken from PENSTOCK_API_KEY.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	penstock "penstock.dev/penstock/v1"
)

// Time for the whole conversation. A request without a deadline may wait for ever.
const timeout = 10 * time.Second

// zeros makes the tensor for one input; free dimensions are as small as they may be, but at least 1.
func zeros(spec *penstock.TensorSpec) *penstock.Tensor {
	tensor, elements := &penstock.Tensor{Name: spec.Name, Dtype: spec.Dtype}, int64(1)
	for _, dim := range spec.Shape {
		size := dim.GetSize()
		if _, free := dim.Kind.(*penstock.Dimension_Name); free {
			size = 1
			if dim.Min > 1 {
				size = dim.Min
			}
		}
		tensor.Shape = append(tensor.Shape, size)
		elements *= size
	}
	tensor.Floats = make([]float32, elements)
	return tensor
}

func ask(address, model string) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if key := os.Getenv("PENSTOCK_API_KEY"); key != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
	}
	// One connection for the whole process. With TLS: grpc.WithTransportCredentials.
	connection, err := grpc.Dial(address, grpc.WithInsecure())
	if err != nil {
		return err
	}
	defer connection.Close()

	spec := &penstock.ModelSpec{Name: model}
	described, err := penstock.NewModelStatusServiceClient(connection).
		GetModelMetadata(ctx, &penstock.GetModelMetadataRequest{ModelSpec: spec})
	if err != nil {
		return err
	}
	request := &penstock.PredictRequest{ModelSpec: spec}
	for _, input := range described.GetSignature().GetInputs() {
		request.Inputs = append(request.Inputs, zeros(input))
	}
	answer, err := penstock.NewPredictServiceClient(connection).Predict(ctx, request)
	if err != nil {
		return err
	}
	fmt.Printf("typed values, answered by version %d:\n", answer.GetModelSpec().GetVersion())
	for _, tensor := range answer.Outputs {
		fmt.Printf("  %s %v %v\n", tensor.Name, tensor.Shape, tensor.Floats)
	}
	return nil
}

// explain prints code, message and google.rpc details; programs test Reason, the message is for people.
func explain(err error) {
	failure := status.Convert(err)
	fmt.Fprintf(os.Stderr, "%s: %s\n", failure.Code(), failure.Message())
	for _, detail := range failure.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			fmt.Fprintf(os.Stderr, "  reason %s (%s) %v\n", detail.Reason, detail.Domain, detail.Metadata)
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				fmt.Fprintf(os.Stderr, "  %s: %s\n", violation.Field, violation.Description)
			}
		}
	}
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: caller ADDRESS MODEL")
		os.Exit(2)
	}
	if err := ask(os.Args[1], os.Args[2]); err != nil {
		explain(err)
		os.Exit(1)
	}
}
