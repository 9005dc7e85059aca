#include "inference/worker/chat_template.h"

struct chat_template {
    const char *name;
    const char *text;           /* as it stands in files */
    const char *default_system; /* put first when the conversation has no system message; NULL: nothing */
};

#define CHATML_BODY                                                                                          \
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"               \
    "{% endfor %}"
#define CHATML_OPEN "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
#define SMOLLM2_SYSTEM "You are a helpful AI assistant named SmolLM, trained by Hugging Face"

/* All of these are ChatML: <|im_start|>role \n content <|im_end|> \n. */
static const struct chat_template templates[] = {
    {"smollm2",
     "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
     "{{ '<|im_start|>system\\n" SMOLLM2_SYSTEM "<|im_end|>\\n' }}{% endif %}" CHATML_BODY CHATML_OPEN,
     SMOLLM2_SYSTEM},
    {"smollm2",
     "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
     "{{ '<|im_start|>system\n" SMOLLM2_SYSTEM "<|im_end|>\n' }}{% endif %}"
     "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
     "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
     SMOLLM2_SYSTEM},
    {"chatml", "{% for message in messages %}" CHATML_BODY CHATML_OPEN, NULL},
    {"chatml",
     "{% for message in messages %}"
     "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
     "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
     NULL},
};

int chat_template_find(const struct gguf *file, const struct chat_template **out, struct str *text,
                       struct err *err)
{
    *text = STR("");
    int rc = gguf_get_str(file, "tokenizer.chat_template", text, err);
    if (rc) {
        return rc;
    }
    for (size_t i = 0; i < sizeof templates / sizeof *templates; i++) {
        if (str_is(*text, templates[i].text)) {
            *out = &templates[i];
            return 0;
        }
    }
    return err_set(err, ERR_INVALID, "model: its chat template (%zu bytes) is not one that is known",
                   text->n);
}

const char *chat_template_name(const struct chat_template *t)
{
    return t->name;
}

/* The text between two control tokens is tokenized as a whole, as the model saw it. */
static int add_turn(struct tokenizer *tokenizer, struct str role, struct str content, struct token_list *out,
                    struct err *err)
{
    struct buf text;
    buf_init(&text, role.n + content.n + 1);
    buf_add_str(&text, role);
    buf_add_char(&text, '\n');
    buf_add_str(&text, content);
    token_list_add(out, tokenizer_control(tokenizer, "<|im_start|>"));
    int rc = tokenizer_encode(tokenizer, buf_str(&text), out, err);
    buf_clear(&text);
    return rc;
}

static int end_turn(struct tokenizer *tokenizer, struct token_list *out, struct err *err)
{
    token_list_add(out, tokenizer_control(tokenizer, "<|im_end|>"));
    return tokenizer_encode(tokenizer, STR("\n"), out, err);
}

int chat_template_render(const struct chat_template *t, struct tokenizer *tokenizer,
                         const struct chat_message *messages, size_t count, struct token_list *out,
                         struct err *err)
{
    int rc = 0;
    bool has_system = count > 0 && str_is(messages[0].role, "system");
    tokenizer_begin(tokenizer, out);
    if (t->default_system && !has_system) {
        rc = add_turn(tokenizer, STR("system"), str_from(t->default_system), out, err);
        if (!rc) {
            rc = end_turn(tokenizer, out, err);
        }
    }
    for (size_t i = 0; i < count && !rc; i++) {
        rc = add_turn(tokenizer, messages[i].role, messages[i].content, out, err);
        if (!rc) {
            rc = end_turn(tokenizer, out, err);
        }
    }
    return rc ? rc : add_turn(tokenizer, STR("assistant"), STR(""), out, err);
}
