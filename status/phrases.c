#include "status/phrases.h"

#include <string.h>

#include "base/buf.h"

#define PROOF_EN " This update was posted automatically."
#define PROOF_HANS "（本条更新由系统自动发布。）"
#define PROOF_HANT "（本則更新由系統自動發布。）"

static const char *const phrases[PHRASE_COUNT][STATUS_LANGS] = {
    [PHRASE_NAME_OUTAGE] = {"Service interruption: {list}", "服务中断：{list}", "服務中斷：{list}"},
    [PHRASE_NAME_SLOW] = {"Slow responses: {list}", "响应缓慢：{list}", "回應緩慢：{list}"},
    [PHRASE_OPENED_OUTAGE] =
        {"Our monitoring sees errors in: {list}. We are investigating. Components that "
         "are not named here show no errors. The next update follows within {minutes} minutes." PROOF_EN,
         "监控发现以下服务出现错误：{list}。我们正在调查。未列出的服务目前未见错误。"
         "下一次更新将在 {minutes} 分钟内发布。" PROOF_HANS,
         "監控發現以下服務出現錯誤：{list}。我們正在調查。未列出的服務目前未見錯誤。"
         "下一次更新將在 {minutes} 分鐘內發布。" PROOF_HANT},
    [PHRASE_OPENED_SLOW] =
        {"Our monitoring sees slow answers in: {list}. Requests succeed, but take longer than "
         "usual. The next update follows within {minutes} minutes." PROOF_EN,
         "监控发现以下服务响应缓慢：{list}。请求可以完成，但耗时比平时更长。"
         "下一次更新将在 {minutes} 分钟内发布。" PROOF_HANS,
         "監控發現以下服務回應緩慢：{list}。請求可以完成，但耗時比平時更長。"
         "下一次更新將在 {minutes} 分鐘內發布。" PROOF_HANT},
    [PHRASE_ALSO_AFFECTED] = {"The extent has changed. Affected now: {list}. We are investigating." PROOF_EN,
                              "影响范围有变化。目前受影响：{list}。我们正在调查。" PROOF_HANS,
                              "影響範圍有變化。目前受影響：{list}。我們正在調查。" PROOF_HANT},
    [PHRASE_STILL] = {"Still affected: {list}. We continue to work on it. The next update follows within "
                      "{minutes} "
                      "minutes." PROOF_EN,
                      "仍受影响：{list}。我们正在继续处理。下一次更新将在 {minutes} 分钟内发布。" PROOF_HANS,
                      "仍受影響：{list}。我們正在繼續處理。下一次更新將在 {minutes} 分鐘內發布。" PROOF_HANT},
    [PHRASE_AGAIN] = {"The errors have returned in: {list}. We are investigating." PROOF_EN,
                      "以下服务再次出现错误：{list}。我们正在调查。" PROOF_HANS,
                      "以下服務再次出現錯誤：{list}。我們正在調查。" PROOF_HANT},
    [PHRASE_RECOVERED] = {"Working again: {list}. We keep watching." PROOF_EN,
                          "已恢复：{list}。我们将继续观察。" PROOF_HANS,
                          "已恢復：{list}。我們將繼續觀察。" PROOF_HANT},
    [PHRASE_WITHDRAWN] = {"What was affected is no longer part of this page. We keep watching." PROOF_EN,
                          "受影响的服务已从本页移除。我们将继续观察。" PROOF_HANS,
                          "受影響的服務已從本頁移除。我們將繼續觀察。" PROOF_HANT},
    [PHRASE_RESOLVED] = {"No errors for {minutes} min. This incident is resolved." PROOF_EN,
                         "{minutes} 分钟内未再出现错误。本次事件已解决。" PROOF_HANS,
                         "{minutes} 分鐘內未再出現錯誤。本次事件已解決。" PROOF_HANT},
    [PHRASE_NAME_SIGNUP_MAINLAND] = {"Sign-up: limited to mainland China phone numbers",
                                     "注册：仅限中国大陆手机号", "註冊：僅限中國大陸手機號碼"},
    [PHRASE_NAME_SIGNUP_LIMITED] = {"Sign-up: limited for now", "注册：暂时受限", "註冊：暫時受限"},
    [PHRASE_NAME_SIGNUP_CLOSED] = {"Sign-up: paused", "注册：暂停", "註冊：暫停"},
    [PHRASE_SIGNUP_MAINLAND] =
        {"New accounts can be made with a mainland China phone number only. Existing users are "
         "unaffected: log-in and chat go on as usual.",
         "目前仅支持使用中国大陆手机号注册新账号。已注册用户不受影响，可照常登录和使用。",
         "目前僅支援以中國大陸手機號碼註冊新帳號。已註冊用戶不受影響，可照常登入和使用。"},
    [PHRASE_SIGNUP_LIMITED] =
        {"New accounts are limited for now. Existing users are unaffected: log-in and chat go on "
         "as usual.",
         "新账号注册暂时受限。已注册用户不受影响，可照常登录和使用。",
         "新帳號註冊暫時受限。已註冊用戶不受影響，可照常登入和使用。"},
    [PHRASE_SIGNUP_CLOSED] =
        {"No new accounts can be made for now. Existing users are unaffected: log-in and chat go "
         "on as usual.",
         "暂停注册新账号。已注册用户不受影响，可照常登录和使用。",
         "暫停註冊新帳號。已註冊用戶不受影響，可照常登入和使用。"},
    [PHRASE_SIGNUP_OPEN] = {"Sign-up is open again.", "注册已重新开放。", "註冊已重新開放。"},
    [PHRASE_NAME_ATTACK] = {"Protection against automated sign-ups: level {minutes} of 4",
                            "针对自动注册的防护：第 {minutes} 级（共 4 级）",
                            "針對自動註冊的防護：第 {minutes} 級（共 4 級）"},
    [PHRASE_ATTACK_A1] =
        {"There are far more sign-ups than usual, many of them automated. Devices that make a new account "
         "solve a short puzzle first. Existing users are unaffected: log-in and chat go on as usual.",
         "目前注册请求异常增多，其中不少是自动程序。注册新账号前，设备需先完成一项简短的验证计算。"
         "已注册用户不受影响，可照常登录和使用。",
         "目前註冊請求異常增多，其中不少是自動程式。註冊新帳號前，裝置需先完成一項簡短的驗證計算。"
         "已註冊用戶不受影響，可照常登入和使用。"},
    [PHRASE_ATTACK_A2] =
        {"There are far more sign-ups than usual, many of them automated. New accounts are limited for now. "
         "Existing users are unaffected: log-in and chat go on as usual.",
         "目前注册请求异常增多，其中不少是自动程序。新账号注册暂时受限。"
         "已注册用户不受影响，可照常登录和使用。",
         "目前註冊請求異常增多，其中不少是自動程式。新帳號註冊暫時受限。"
         "已註冊用戶不受影響，可照常登入和使用。"},
    [PHRASE_ATTACK_A3] =
        {"There are far more sign-ups than usual, many of them automated. No new accounts can be made for "
         "now. Existing users are unaffected: log-in and chat go on as usual.",
         "目前注册请求异常增多，其中不少是自动程序。暂停注册新账号。"
         "已注册用户不受影响，可照常登录和使用。",
         "目前註冊請求異常增多，其中不少是自動程式。暫停註冊新帳號。"
         "已註冊用戶不受影響，可照常登入和使用。"},
    [PHRASE_ATTACK_A4] =
        {"No new accounts can be made for now. Logging in takes a moment longer: the device solves a short "
         "puzzle first. Who is logged in chats on as usual.",
         "暂停注册新账号。登录时设备需先完成一项简短的验证计算，耗时会略长。已登录的用户可照常使用。",
         "暫停註冊新帳號。登入時裝置需先完成一項簡短的驗證計算，耗時會略長。已登入的用戶可照常使用。"},
    [PHRASE_ATTACK_OVER] = {"It is over. The extra checks have ended.",
                            "情况已恢复正常，额外的防护措施已解除。",
                            "情況已恢復正常，額外的防護措施已解除。"},
    [PHRASE_LIST_JOIN] = {", ", "、", "、"},
    [PHRASE_LIST_MORE] = {" and {minutes} more", "等另外 {minutes} 项", "等另外 {minutes} 項"},

    [PHRASE_TITLE] = {"{list} Status", "{list} 服务状态", "{list} 服務狀態"},
    [PHRASE_SKIP_LINK] = {"Skip to the components", "跳到服务列表", "跳到服務列表"},
    [PHRASE_AS_OF] = {"Data as of {list}", "数据截至 {list}", "資料截至 {list}"},
    [PHRASE_NEVER_SEEN] = {"No data yet", "尚无数据", "尚無資料"},
    [PHRASE_STALE_BANNER] =
        {"Some of these data are stale: our probes have brought no fresh results, so what is "
         "marked Unknown is not confirmed to be working right now.",
         "部分数据已过时：探测程序没有取得最新结果，标为“未知”的服务目前无法确认是否正常。",
         "部分資料已過時：探測程式沒有取得最新結果，標為「未知」的服務目前無法確認是否正常。"},
    [PHRASE_STORE_BANNER] = {"Announcements and history may be incomplete: their database is out of reach.",
                             "公告和历史记录可能不完整：暂时无法读取数据库。",
                             "公告和歷史紀錄可能不完整：暫時無法讀取資料庫。"},
    [PHRASE_COMPONENTS] = {"Components", "服务", "服務"},
    [PHRASE_MODELS] = {"Models", "模型", "模型"},
    [PHRASE_OPEN_INCIDENTS] = {"Happening now", "进行中", "進行中"},
    [PHRASE_PAST_INCIDENTS] = {"Past incidents", "历史事件", "歷史事件"},
    [PHRASE_NO_INCIDENTS_DAY] = {"No incidents reported.", "无事件。", "無事件。"},
    [PHRASE_NO_INCIDENTS_RECENT] = {"No incidents in the last 14 days.", "最近 14 天无事件。",
                                    "最近 14 天無事件。"},
    [PHRASE_ALL_INCIDENTS] = {"All incidents", "全部事件", "全部事件"},
    [PHRASE_BACK] = {"Current status", "当前状态", "目前狀態"},
    [PHRASE_AUTOMATIC] = {"Automatic", "自动发布", "自動發布"},
    [PHRASE_POLICY] = {"Notice", "公告", "公告"},
    [PHRASE_AFFECTED] = {"Affected: {list}", "受影响：{list}", "受影響：{list}"},
    [PHRASE_UPTIME] = {"{list} % uptime", "可用率 {list} %", "可用率 {list} %"},
    [PHRASE_UPTIME_NONE] = {"no history yet", "暂无历史", "尚無歷史"},
    [PHRASE_DAYS_AGO] = {"90 days ago", "90 天前", "90 天前"},
    [PHRASE_TODAY] = {"Today", "今天", "今天"},
    [PHRASE_DAY_FINE] = {"no downtime", "无中断", "無中斷"},
    [PHRASE_DAY_UNWATCHED] = {"no data", "无数据", "無資料"},
    [PHRASE_DAY_MINUTES] = {"{minutes} min", "{minutes} 分钟", "{minutes} 分鐘"},
    [PHRASE_BAD_DAYS] = {"Days with interruptions: {minutes}", "有中断的天数：{minutes}",
                         "有中斷的天數：{minutes}"},
    [PHRASE_FORMULA] = {"Uptime counts major outages fully and partial outages by 30 %, as "
                        "measured by our probes. "
                        "Limits set on purpose are not counted. Times are UTC.",
                        "可用率按探测结果计算：严重中断全额计入，部分中断按 30% "
                        "计入；主动限制不计入。时间为 UTC。",
                        "可用率依探測結果計算：嚴重中斷全額計入，部分中斷按 30% "
                        "計入；主動限制不計入。時間為 UTC。"},
    [PHRASE_FEEDS] = {"Subscribe", "订阅", "訂閱"},
    [PHRASE_LANGUAGES] = {"Language", "语言", "語言"},
    [PHRASE_UNKNOWN_STATUS] = {"Unknown", "未知", "未知"},
    [PHRASE_LIMITED] = {"Limited", "受限", "受限"},
    [PHRASE_CLOSED] = {"Closed", "暂停", "暫停"},
    [PHRASE_STATUS_OPERATIONAL] = {"Operational", "正常", "正常"},
    [PHRASE_STATUS_MAINTENANCE] = {"Maintenance", "维护中", "維護中"},
    [PHRASE_STATUS_DEGRADED] = {"Slow", "缓慢", "緩慢"},
    [PHRASE_STATUS_PARTIAL] = {"Partial outage", "部分中断", "部分中斷"},
    [PHRASE_STATUS_MAJOR] = {"Outage", "中断", "中斷"},
    [PHRASE_INVESTIGATING] = {"Investigating", "调查中", "調查中"},
    [PHRASE_IDENTIFIED] = {"Identified", "已确认", "已確認"},
    [PHRASE_MONITORING] = {"Monitoring", "观察中", "觀察中"},
    [PHRASE_STATUS_RESOLVED] = {"Resolved", "已解决", "已解決"},
    [PHRASE_POSTMORTEM] = {"Postmortem", "事后分析", "事後分析"},
    [PHRASE_NOT_FOUND] = {"There is no such page.", "页面不存在。", "頁面不存在。"},
};

const char *phrase(enum phrase p, enum problem_lang lang)
{
    return phrases[p][lang];
}

void phrase_add(struct buf *out, enum phrase p, enum problem_lang lang, const char *list, unsigned minutes)
{
    const char *at = phrases[p][lang];
    for (const char *open; (open = strchr(at, '{')) != NULL;) {
        const char *close = strchr(open, '}');
        buf_add(out, at, (size_t)(open - at));
        if (open[1] == 'l') {
            buf_add_cstr(out, list ? list : "");
        } else {
            buf_add_u64(out, minutes);
        }
        at = close + 1;
    }
    buf_add_cstr(out, at);
}

void phrase_fill(struct incident_text *out, enum phrase p, const char *const lists[STATUS_LANGS],
                 unsigned minutes)
{
    struct buf text;
    buf_init(&text, INCIDENT_TEXT_MAX);
    for (int lang = 0; lang < STATUS_LANGS; lang++) {
        buf_truncate(&text);
        phrase_add(&text, p, (enum problem_lang)lang, lists ? lists[lang] : NULL, minutes);
        incident_text_set(out, (enum problem_lang)lang, buf_str(&text));
    }
    buf_clear(&text);
}
