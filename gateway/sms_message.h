/* What a receiver of codes is told: the body of the SMS hook. Not the sending (hooks.h).
 *
 *     {"type":"sms.code","timestamp":...,"data":{to,channel,code,text,lang},"user":{"phone":...},"sms":{"otp":...}}
 * (the last two are what receivers of GoTrue's send-SMS hook read). Who was released from the waiting list is told by
 *     {"type":"sms.waitlist_released",...,"data":{to,channel,expires_at,text,lang},"user":{"phone":...}}
 * Thread rule: pure. */
#ifndef TIDE_GATEWAY_SMS_MESSAGE_H
#define TIDE_GATEWAY_SMS_MESSAGE_H

#include "base/buf.h"

struct auth_message;

void sms_message_write(const struct auth_message *m, struct buf *out);

#endif
