/* What tide-worker counts, in vLLM's names where vLLM has one, so that routers read both alike.
 * Thread rule: worker_metrics_init once; the rest from any thread (gauges: one writer). */
#ifndef TIDE_WORKER_WORKER_METRICS_H
#define TIDE_WORKER_WORKER_METRICS_H

#include "base/metrics.h"

extern struct metric worker_running;        /* vllm:num_requests_running */
extern struct metric worker_waiting;        /* vllm:num_requests_waiting */
extern struct metric worker_kv_usage;       /* vllm:kv_cache_usage_perc, 0 to 1 */
extern struct metric worker_window_blocks;  /* tide_worker_kv_window_blocks */
extern struct metric worker_window_used;    /* tide_worker_kv_window_blocks_used */
extern struct metric worker_preemptions;    /* vllm:num_preemptions_total */
extern struct metric worker_prefix_queries; /* vllm:prefix_cache_queries_total, in tokens */
extern struct metric worker_prefix_hits;    /* vllm:prefix_cache_hits_total, in tokens */
extern struct metric worker_prompt_tokens;  /* vllm:prompt_tokens_total */
extern struct metric worker_answer_tokens;  /* vllm:generation_tokens_total */
extern struct metric worker_finished;       /* vllm:request_success_total{finished_reason} */
extern struct metric worker_first_token;    /* vllm:time_to_first_token_seconds */
extern struct metric worker_between_tokens; /* vllm:inter_token_latency_seconds */
extern struct metric worker_whole_request;  /* vllm:e2e_request_latency_seconds */
extern struct metric worker_queue_time;     /* vllm:request_queue_time_seconds */
extern struct metric worker_step_time;      /* tide_worker_step_seconds */
extern struct metric worker_backend_time;   /* tide_worker_backend_seconds */
extern struct metric worker_steps;          /* tide_worker_steps_total */
extern struct metric worker_step_tokens;    /* tide_worker_step_tokens_total */
extern struct metric worker_refused;        /* tide_worker_requests_refused_total{reason} */
extern struct metric worker_weights;        /* tide_worker_weights_bytes{place} */
extern struct metric worker_slots;          /* tide_worker_slots */

void worker_metrics_init(void); /* all of them appear from the start */

#endif
