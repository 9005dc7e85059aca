/* The CUDA runtime's functions for streams, events, graphs and launches. */
#include <map>

#include "kernels/emu/runtime.h"

enum { SHARED_DEFAULT = 48 << 10, SHARED_MOST = 227 << 10 };

/* Of functions that asked for more than SHARED_DEFAULT, on each device by itself. */
static std::map<std::pair<int, const void *>, int> dynamic_limits;

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    struct emu_lock lock;
    cudaError rc = runtime_begin();
    if (rc == cudaSuccess && flags != cudaStreamNonBlocking) {
        rc = cudaErrorInvalidValue; /* streams that wait for the default stream are not emulated */
    }
    if (rc == cudaSuccess) {
        *stream = new CUstream_st();
        (*stream)->device = runtime_device();
        streams_register(*stream);
    }
    return runtime_error(rc);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    struct emu_lock lock;
    cudaError rc = runtime_begin();
    if (rc == cudaSuccess) {
        rc = stream_drain(stream);
    }
    if (!streams_forget(stream)) {
        return runtime_error(cudaErrorInvalidResourceHandle);
    }
    delete stream;
    return runtime_error(rc);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    struct emu_lock lock;
    cudaError rc = runtime_begin();
    if (rc == cudaSuccess && streams_forbid_waiting(runtime_stream(stream), runtime_device())) {
        rc = cudaErrorStreamCaptureUnsupported;
    }
    return runtime_error(rc == cudaSuccess ? stream_drain(runtime_stream(stream)) : rc);
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    struct emu_lock lock;
    cudaError rc = runtime_begin();
    if (rc == cudaSuccess) {
        device_memory_open();
        streams_step();
        device_memory_close();
        rc = emu_sticky(runtime_device());
    }
    if (rc == cudaSuccess && !runtime_stream(stream)->queue.empty()) {
        return cudaErrorNotReady;
    }
    return runtime_error(rc);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    struct emu_lock lock;
    cudaError rc = runtime_begin();
    if (rc == cudaSuccess) {
        *event = new CUevent_st();
    }
    (void)flags; /* there is no clock in here: every event is without times */
    return runtime_error(rc);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    struct emu_lock lock;
    cudaError rc = runtime_begin();
    if (rc == cudaSuccess) {
        rc = event_wait(event, runtime_device());
    }
    delete event;
    return runtime_error(rc);
}

static cudaError_t add_event(cudaEvent_t event, cudaStream_t stream, enum operation_kind kind)
{
    struct emu_lock lock;
    cudaError rc = runtime_begin();
    if (rc == cudaSuccess && streams_forbid_waiting(runtime_stream(stream), runtime_device())) {
        rc = cudaErrorStreamCaptureUnsupported; /* graphs here are recorded from one stream */
    }
    if (rc == cudaSuccess) {
        struct operation op = {};
        op.kind = kind;
        op.event = event;
        stream_add(runtime_stream(stream), op);
    }
    return runtime_error(rc);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    return add_event(event, stream, OPERATION_RECORD);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
    return flags ? cudaErrorInvalidValue : add_event(event, stream, OPERATION_WAIT);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    struct emu_lock lock;
    cudaError rc = runtime_begin();
    return runtime_error(rc == cudaSuccess ? event_wait(event, runtime_device()) : rc);
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    struct emu_lock lock;
    cudaError rc = runtime_begin();
    if (rc == cudaSuccess && event->done < event->recorded) {
        return cudaErrorNotReady;
    }
    return runtime_error(rc);
}

/* --- graphs ------------------------------------------------------------------------------------------------------- */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    struct emu_lock lock;
    cudaError rc = runtime_begin();
    if (rc == cudaSuccess && (!stream || stream->captured)) {
        rc = cudaErrorStreamCaptureUnsupported; /* never the default stream */
    }
    if (rc == cudaSuccess) {
        stream->captured = std::make_shared<operations>();
        stream->is_relaxed = mode == cudaStreamCaptureModeRelaxed;
    }
    return runtime_error(rc);
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    struct emu_lock lock;
    cudaError rc = runtime_begin();
    if (rc == cudaSuccess && (!stream || !stream->captured)) {
        rc = cudaErrorInvalidValue;
    }
    if (rc == cudaSuccess) {
        *graph = new CUgraph_st{stream->captured};
        stream->captured.reset();
    }
    return runtime_error(rc);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags)
{
    struct emu_lock lock;
    cudaError rc = runtime_begin();
    if (rc == cudaSuccess) {
        *exec = new CUgraphExec_st{graph->operations_};
    }
    (void)flags;
    return runtime_error(rc);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    struct emu_lock lock;
    cudaError rc = runtime_begin();
    if (rc == cudaSuccess) {
        struct operation op = {};
        op.kind = OPERATION_GRAPH;
        op.graph = exec->operations_;
        stream_add(runtime_stream(stream), op);
    }
    return runtime_error(rc);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    struct emu_lock lock;
    delete exec;
    tell_others();
    return runtime_error(runtime_begin());
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    struct emu_lock lock;
    delete graph;
    tell_others();
    return runtime_error(runtime_begin());
}

/* --- launches ------------------------------------------------------------------------------------------------------ */

void launch_limits_clear(void)
{
    dynamic_limits.clear();
}

cudaError_t cudaFuncSetAttribute(const void *function, enum cudaFuncAttribute attribute, int value)
{
    struct emu_lock lock;
    cudaError rc = runtime_begin();
    if (rc == cudaSuccess && (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
                              value > SHARED_MOST || !function)) {
        rc = cudaErrorInvalidValue;
    }
    if (rc == cudaSuccess) {
        dynamic_limits[{runtime_device(), function}] = value;
    }
    return runtime_error(rc);
}

void *emu_parameters(size_t bytes)
{
    struct emu_lock lock;
    if (runtime_begin() != cudaSuccess) {
        return parameters_spare(); /* the launch is refused below */
    }
    return parameters_new(bytes);
}

static cudaError check_launch(const struct emu_launch *l, int device)
{
    uint64_t threads = (uint64_t)l->block.x * l->block.y * l->block.z;
    if (threads == 0 || threads > THREADS_MAX || l->block.z > 64 || l->grid.x == 0 || l->grid.y == 0 ||
        l->grid.z == 0 || l->grid.x > 0x7FFFFFFF || l->grid.y > 65535 || l->grid.z > 65535) {
        return cudaErrorInvalidConfiguration;
    }
    auto limit = dynamic_limits.find({device, l->function});
    size_t most = limit == dynamic_limits.end() ? (size_t)SHARED_DEFAULT : (size_t)limit->second;
    return l->shared_bytes > most ? cudaErrorInvalidValue : cudaSuccess;
}

void emu_enqueue_launch(struct emu_launch launch, cudaStream_t stream)
{
    struct emu_lock lock;
    std::shared_ptr<void> arguments(launch.arguments, parameters_free);
    cudaError rc = runtime_begin();
    if (rc == cudaSuccess) {
        rc = check_launch(&launch, runtime_stream(stream)->device);
    }
    if (rc == cudaSuccess) {
        struct operation op = {};
        op.kind = OPERATION_LAUNCH;
        op.launch = launch;
        op.arguments = arguments;
        stream_add(runtime_stream(stream), op);
    }
    runtime_error(rc);
}
