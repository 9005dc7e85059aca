/* See sms_message.h. */
#include "gateway/sms_message.h"

#include <stdio.h>

#include "auth/auth.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/secret.h"

static const char *const released_words[] = {"It is your turn: you can sign up now.",
                                             "已轮到您，现在可以注册了。", "已輪到您，現在可以註冊了。"};

static const char *const code_words[] = {"Your verification code is %s. Do not share it with anyone.",
                                         "您的验证码是 %s，请勿告诉他人。",
                                         "您的驗證碼是 %s，請勿告訴他人。"};

static const char *words_of(const struct auth_message *m)
{
    int lang = strcmp(m->lang, "zh-Hans") == 0 ? 1 : strcmp(m->lang, "zh-Hant") == 0 ? 2 : 0;
    return m->kind == AUTH_MESSAGE_CODE ? code_words[lang] : released_words[lang];
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
void sms_message_write(const struct auth_message *m, struct buf *out)
{
    char text[256], at[CLOCK_ISO_LEN + 1];
    struct json_writer w = {.out = out};
    snprintf(text, sizeof text, words_of(m), m->code);
    clock_format_iso(clock_wall_ms(), at);
    json_open(&w, '{');
    bool is_code = m->kind == AUTH_MESSAGE_CODE;
    json_str_at(&w, "type", is_code ? STR("sms.code") : STR("sms.waitlist_released"));
    json_str_at(&w, "timestamp", str_from(at));
    json_open_at(&w, "data", '{');
    json_str_at(&w, "to", str_from(m->to));
    json_str_at(&w, "channel", str_from(m->channel));
    if (is_code) {
        json_str_at(&w, "code", str_from(m->code));
    } else {
        json_i64_at(&w, "expires_at", m->expires_s);
    }
    json_str_at(&w, "text", str_from(text));
    json_str_at(&w, "lang", str_from(m->lang));
    json_close(&w, '}');
    json_open_at(&w, "user", '{');
    json_str_at(&w, "phone", str_from(m->to + 1));
    json_close(&w, '}');
    if (is_code) {
        json_open_at(&w, "sms", '{');
        json_str_at(&w, "otp", str_from(m->code));
        json_close(&w, '}');
    }
    json_close(&w, '}');
    secret_cleanse(text, sizeof text);
}
#pragma GCC diagnostic pop
