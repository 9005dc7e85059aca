#include "inference/worker/chat_template.h"

#include <openssl/sha.h>
#include <stdio.h>

#include "inference/worker/chat_styles.h"

enum think {
    THINKS_NEVER = 0,
    THINKS_ALWAYS = 1,
    THINKS_UNLESS_TOLD = 2,
    THINKS_IF_TOLD = 3,
};

struct chat_template {
    const char *name;
    const char *sha256; /* of the template's text without line ends behind it */
    chat_style_cb style;
    enum think think;
    bool opens;         /* the prompt ends inside <think> when it thinks */
    const char *system; /* put first when the conversation has no system message; NULL: nothing */
};

#define SMOLLM2_SYSTEM "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
#define QWEN25_SYSTEM "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."

/* Where a name stands twice, one text writes its line ends as \n, the other as they are. */
static const struct chat_template templates[] = {
    {.name = "smollm2",
     .sha256 = "de9cde7d1b0ca0cc87459a6673e0d12fb89c070bdb24e4a30b6e4d187b226221",
     .style = chat_style_chatml,
     .system = SMOLLM2_SYSTEM},
    {.name = "smollm2",
     .sha256 = "872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788",
     .style = chat_style_chatml,
     .system = SMOLLM2_SYSTEM},
    {.name = "chatml",
     .sha256 = "fcf7a096fe99a48fd9ad2b250bf9237e96e8f48bffec1c7ea4d3f225176cd40e",
     .style = chat_style_chatml},
    {.name = "chatml",
     .sha256 = "153280e3ff55d19da1398bdb3914ee2a51b80429bfaedde11d7d216c39db80f3",
     .style = chat_style_chatml},
    {.name = "qwen2",
     .sha256 = "af9c0233881b083b52ff773580215222b5440ac3d0beeeca99b76329b048f8db",
     .style = chat_style_chatml,
     .system = "You are a helpful assistant"},
    {.name = "qwen2",
     .sha256 = "793202280c0910ab26bc6eb57c8212c2417324c6d8c4efd0d10d59092ab3e3eb",
     .style = chat_style_chatml,
     .system = "You are a helpful assistant."},
    {.name = "qwen2.5",
     .sha256 = "55b2f4a26ac9ee719330a61a0c39d9e538b0e9322212f048326318cff4f8674a",
     .style = chat_style_qwen25,
     .system = QWEN25_SYSTEM},
    {.name = "qwq",
     .sha256 = "94c6035b4f0eb905c95e2b7d8dace8547abca03f7fe3e441ba8a6388b1941272",
     .style = chat_style_qwq,
     .think = THINKS_UNLESS_TOLD,
     .opens = true},
    {.name = "qwen3",
     .sha256 = "87a2728cb8dc9fe424d624542f6060ec05a1d285ebbec578bb078900e33396b5",
     .style = chat_style_qwen3,
     .think = THINKS_UNLESS_TOLD},
    {.name = "llama-3",
     .sha256 = "ba03a121d097859c7b5b9cd03af99aafe95275210d2876f642ad9929a150f122",
     .style = chat_style_llama3},
    {.name = "llama-3",
     .sha256 = "4f46ecd43418f216df8c26936c60e5d04bcc81db47db5d86fbe889f64212dd4c",
     .style = chat_style_llama3},
    {.name = "llama-3.1",
     .sha256 = "93c0e9aa3629bbd77e68dbc0f5621f6e6b23aa8d74b932595cdb8d64684526d7",
     .style = chat_style_llama31},
    {.name = "llama-3.2",
     .sha256 = "d82792f95932f1c9cef5c4bd992f171225e3bf8c7b609b4557c9e1ec96be819f",
     .style = chat_style_llama31},
    {.name = "deepseek-r1",
     .sha256 = "56a1447ad31926fdc21fb07e56e5642bd9c850c4f52d8c8af7bbe5f079a84f5f",
     .style = chat_style_deepseek_r1,
     .think = THINKS_ALWAYS,
     .opens = true},
    {.name = "deepseek-r1",
     .sha256 = "dd2675619a64a449cdcdd2b93e605a0a50764cee41e344f244752bc93643936c",
     .style = chat_style_deepseek_r1,
     .think = THINKS_ALWAYS,
     .opens = true},
    {.name = "deepseek-r1-switched",
     .sha256 = "bbe594884b44d740667ee65a70bc8d333a565eab3d63ea59f291ea73ada84ba6",
     .style = chat_style_deepseek_r1_switched,
     .think = THINKS_UNLESS_TOLD,
     .opens = true},
    {.name = "deepseek-r1-2025-01",
     .sha256 = "b6835114b7303ddd78919a82e4d9f7d8c26ed0d7dfc36beeb12d524f6144eab1",
     .style = chat_style_deepseek_r1_unopened,
     .think = THINKS_ALWAYS},
    {.name = "deepseek-v3",
     .sha256 = "1abb11869cb1ab4f7003d1c40de7c11b046c7844da22a67e6154d29e7d14d994",
     .style = chat_style_deepseek_v3},
    {.name = "deepseek-v3.1",
     .sha256 = "d9f5f351b276cf9e81d009db08830db7d38e94927aecd09a7beb43e2aafee94e",
     .style = chat_style_deepseek_v31,
     .think = THINKS_IF_TOLD,
     .opens = true},
    {.name = "gemma-2",
     .sha256 = "ecd6ae513fe103f0eb62e8ab5bfa8d0fe45c1074fa398b089c93a7e70c15cfd6",
     .style = chat_style_gemma2},
    {.name = "gemma-3",
     .sha256 = "8d9e3a3c114fb2053ec500184677af4f7e5f8ec2582443cd535834e68b3ade29",
     .style = chat_style_gemma3},
};

static void fingerprint(struct str text, char hex[2 * SHA256_DIGEST_LENGTH + 1])
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    while (text.n > 0 && text.p[text.n - 1] == '\n') {
        text.n--;
    }
    SHA256((const uint8_t *)text.p, text.n, digest);
    for (unsigned i = 0; i < SHA256_DIGEST_LENGTH; i++) {
        snprintf(hex + 2UL * i, 3, "%02x", digest[i]);
    }
}

int chat_template_find(const struct gguf *file, const struct chat_template **out, struct str *text,
                       struct err *err)
{
    char hex[2 * SHA256_DIGEST_LENGTH + 1];
    *text = STR("");
    int rc = gguf_get_str(file, "tokenizer.chat_template", text, err);
    if (rc) {
        return rc;
    }
    fingerprint(*text, hex);
    for (size_t i = 0; i < sizeof templates / sizeof *templates; i++) {
        if (strcmp(hex, templates[i].sha256) == 0) {
            *out = &templates[i];
            return 0;
        }
    }
    return err_set(err, ERR_INVALID,
                   "model: its chat template (%zu bytes, sha256 %.16s) is not one that is known", text->n,
                   hex);
}

const char *chat_template_name(const struct chat_template *t)
{
    return t->name;
}

bool chat_template_thinks(const struct chat_template *t, enum chat_thinking thinking)
{
    return t->think == THINKS_ALWAYS || (t->think == THINKS_UNLESS_TOLD && thinking != CHAT_THINKING_OFF) ||
           (t->think == THINKS_IF_TOLD && thinking == CHAT_THINKING_ON);
}

bool chat_template_allows(const struct chat_template *t, enum chat_thinking thinking)
{
    return thinking == CHAT_THINKING_DEFAULT ||
           chat_template_thinks(t, thinking) == (thinking == CHAT_THINKING_ON);
}

bool chat_template_opens_thinking(const struct chat_template *t, enum chat_thinking thinking)
{
    return t->opens && chat_template_thinks(t, thinking);
}

/* Renders a word of each role; a marker that is missing shows as an error. */
int chat_template_check(const struct chat_template *t, struct tokenizer *tokenizer, struct err *err)
{
    static const struct chat_message words[] = {{STR_INIT("user"), STR_INIT("a")},
                                                {STR_INIT("assistant"), STR_INIT("b")},
                                                {STR_INIT("user"), STR_INIT("c")}};
    struct token_list out = {0};
    int rc = chat_template_render(t, tokenizer, words, 3, CHAT_THINKING_DEFAULT, &out, err);
    token_list_clear(&out);
    return rc;
}

int chat_template_render(const struct chat_template *t, struct tokenizer *tokenizer,
                         const struct chat_message *messages, size_t count, enum chat_thinking thinking,
                         struct token_list *out, struct err *err)
{
    enum { TEXT_MAX = 1 << 30 };
    struct chat_prompt p = {.tokenizer = tokenizer,
                            .messages = messages,
                            .count = count,
                            .thinks = chat_template_thinks(t, thinking),
                            .system = t->system,
                            .out = out,
                            .err = err};
    buf_init(&p.text, TEXT_MAX);
    t->style(&p);
    chat_prompt_flush(&p);
    buf_clear(&p.text);
    return p.rc;
}
