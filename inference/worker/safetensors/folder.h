/* A model as Hugging Face and DeepSeek publish it: a folder of safetensors files, brought into the form of a GGUF file.
 *
 *     config.json                       sizes                     config.c
 *     tokenizer.json                    vocabulary and merges     vocabulary.c; how text is split: splits.c
 *     tokenizer_config.json             special tokens, chat template (or chat_template.jinja)
 *     model.safetensors, or             weights                   weights.c names them, convert.c changes those that
 *     model.safetensors.index.json                                GGUF keeps in another way
 *         and the files it lists
 *
 * After folder_open the keys and tensors have the names that llama.cpp gives them, so nothing above it knows the
 * difference. Values stay where the files have them, but for: FP8, which becomes BF16 (its bytes stay known, gguf.h);
 * experts, which are put one behind the other; queries and keys of llama, whose rows change places; norms of gemma, which
 * get 1 added.
 * What would have to be ignored or guessed is refused by its name.
 * Ownership: the caller closes *out with gguf_close. The files must not be rewritten in place while it is open.
 * Errors: ERR_IO, ERR_INVALID, ERR_LIMIT, ERR_NOT_FOUND (no config.json); the text names the file and what in it.
 * Thread rule: as gguf.h. */
#ifndef TIDE_WORKER_SAFETENSORS_FOLDER_H
#define TIDE_WORKER_SAFETENSORS_FOLDER_H

#include "inference/worker/gguf.h"

int folder_open(const char *path, struct gguf **out, struct err *err) TIDE_CHECK;

#endif
