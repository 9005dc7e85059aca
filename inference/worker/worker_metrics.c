#include "inference/worker/worker_metrics.h"

struct metric worker_running = METRIC_GAUGE("vllm:num_requests_running", "Requests that hold a slot.");
struct metric worker_waiting = METRIC_GAUGE("vllm:num_requests_waiting", "Requests waiting for a slot.");
struct metric worker_kv_usage =
    METRIC_GAUGE("vllm:kv_cache_usage_perc", "Blocks of the KV cache in use; 1 is all of them.");
struct metric worker_window_blocks = METRIC_GAUGE(
    "tide_worker_kv_window_blocks", "Blocks of layers that see a window; 0: they keep all positions.");
struct metric worker_window_used =
    METRIC_GAUGE("tide_worker_kv_window_blocks_used", "Of these, blocks in use.");
struct metric worker_preemptions =
    METRIC_COUNTER("vllm:num_preemptions_total", "Answers put back into the queue for want of blocks.");
struct metric worker_prefix_queries =
    METRIC_COUNTER("vllm:prefix_cache_queries_total", "Prompt tokens looked up in the KV cache.");
struct metric worker_prefix_hits =
    METRIC_COUNTER("vllm:prefix_cache_hits_total", "Prompt tokens found there.");
struct metric worker_prompt_tokens = METRIC_COUNTER("vllm:prompt_tokens_total", "Prompt tokens computed.");
struct metric worker_answer_tokens = METRIC_COUNTER("vllm:generation_tokens_total", "Answer tokens made.");
struct metric worker_finished =
    METRIC_COUNTER_L("vllm:request_success_total", "Requests that ended, by reason.", "finished_reason");
struct metric worker_first_token =
    METRIC_HISTOGRAM("vllm:time_to_first_token_seconds", "From arrival to the first token.");
struct metric worker_between_tokens =
    METRIC_HISTOGRAM("vllm:inter_token_latency_seconds", "From one token to the next.");
struct metric worker_whole_request =
    METRIC_HISTOGRAM("vllm:e2e_request_latency_seconds", "From arrival to the last token.");
struct metric worker_queue_time =
    METRIC_HISTOGRAM("vllm:request_queue_time_seconds", "From arrival to a slot.");
struct metric worker_step_time = METRIC_HISTOGRAM(
    "tide_worker_step_seconds", "A step: choosing a batch, computing it, telling its tokens.");
struct metric worker_backend_time =
    METRIC_HISTOGRAM("tide_worker_backend_seconds", "Of it, the model's computation.");
struct metric worker_steps = METRIC_COUNTER("tide_worker_steps_total", "Batches computed.");
struct metric worker_step_tokens =
    METRIC_COUNTER("tide_worker_step_tokens_total", "Tokens in the batches computed.");
struct metric worker_refused =
    METRIC_COUNTER_L("tide_worker_requests_refused_total", "Requests refused, by reason.", "reason");
struct metric worker_weights = METRIC_GAUGE_L(
    "tide_worker_weights_bytes",
    "Packed weights of the CPU: mapped from the file that workers share, or private memory.", "place");
struct metric worker_slots = METRIC_GAUGE("tide_worker_slots", "Requests that can run at once.");

void worker_metrics_init(void)
{
    static struct metric *const all[] = {
        &worker_running,       &worker_waiting,       &worker_kv_usage,    &worker_prompt_tokens,
        &worker_answer_tokens, &worker_finished,      &worker_first_token, &worker_between_tokens,
        &worker_whole_request, &worker_queue_time,    &worker_steps,       &worker_step_tokens,
        &worker_refused,       &worker_slots,         &worker_preemptions, &worker_prefix_queries,
        &worker_prefix_hits,   &worker_window_blocks, &worker_window_used, &worker_step_time,
        &worker_backend_time,  &worker_weights,
    };
    static const char *const reasons[] = {"stop", "length", "abort", "error", "timeout"};
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        metric_register(all[i]);
    }
    for (unsigned i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        metric_child_add(metric_child(&worker_finished, reasons[i]), 0);
    }
}
