/* The one style sheet. Colours are variables, redefined for dark mode; every text pair is at least 4.5:1, every
 * state has a glyph and a word besides its colour. Inline in each page: no second request. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "status/page.h"

const char page_style[] =
    ":root{color-scheme:light "
    "dark;--bg:#f5f6f8;--card:#fff;--ink:#14181f;--dim:#5a6472;--line:#e3e6eb;--link:#0b57d0;"
    "--ok:#0e6e4e;--okb:#e5f5ef;--mt:#2457c5;--mtb:#e8effc;--dg:#8a6100;--dgb:#fdf3d7;--po:#b54708;"
    "--pob:#fdebdc;"
    "--mo:#b42318;--mob:#fde8e6;--un:#5a6472;--unb:#eceef1;--b0:#2fb344;--b1:#4f7fe8;--b2:#e6b422;-"
    "-b3:#ef7d2d;"
    "--b4:#dc3b30;--bn:#d5d9e0;--sh:0 1px 2px #10182814,0 4px 16px #1018280a}"
    "@media(prefers-color-scheme:dark){:root{--bg:#0c0f14;--card:#151a21;--ink:#e8ebf0;--dim:#"
    "9aa5b4;--line:#252c36;"
    "--link:#8ab4f8;--ok:#5fd3a3;--okb:#0f2a21;--mt:#93b4f8;--mtb:#152340;--dg:#f0c450;--dgb:#"
    "2e2508;--po:#f7a368;"
    "--pob:#33200f;--mo:#ff8f85;--mob:#3a1614;--un:#a5afbd;--unb:#222933;--b0:#2f9e56;--b1:#4f7fe8;"
    "--b2:#d5a41b;"
    "--b3:#e0752b;--b4:#e0473c;--bn:#2d3540;--sh:0 1px 2px #0006}}"
    "*{box-sizing:border-box}"
    "body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 "
    "system-ui,-apple-system,'Segoe UI',Roboto,"
    "'Noto Sans','PingFang SC','PingFang TC','Microsoft YaHei','Noto Sans CJK SC',sans-serif;"
    "-webkit-text-size-adjust:100%;overflow-wrap:break-word}"
    ".w{max-width:52rem;margin:0 auto;padding:0 1.25rem}"
    "a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}"
    ":focus-visible{outline:3px solid var(--link);outline-offset:2px;border-radius:4px}"
    ".skip{position:absolute;left:-99rem}.skip:focus{left:1rem;top:1rem;background:var(--card);"
    "padding:.5rem 1rem}"
    "header{display:flex;align-items:center;justify-content:space-between;gap:1rem;flex-wrap:wrap;"
    "padding:1.75rem 0}"
    ".logo{display:flex;align-items:center;gap:.65rem;font-weight:700;font-size:1.2rem;letter-"
    "spacing:-.01em;"
    "color:var(--ink)}.logo:hover{text-decoration:none}.logo "
    "svg{width:2rem;height:2rem;display:block}"
    ".logo span{font-weight:400;color:var(--dim)}"
    "nav ul,.inl{list-style:none;margin:0;padding:0;display:flex;gap:.25rem "
    "1rem;flex-wrap:wrap;font-size:.9rem}"
    "nav [aria-current]{color:var(--ink);font-weight:600}"
    "h1,h2,h3,p{margin:0}h2{font-size:1.1rem;font-weight:650;margin:2.25rem 0 "
    ".85rem;letter-spacing:-.01em}"
    ".card{background:var(--card);border:1px solid "
    "var(--line);border-radius:14px;box-shadow:var(--sh)}"
    ".hero{display:flex;align-items:center;gap:1.1rem;padding:1.4rem 1.5rem;border-radius:16px;"
    "border:1px solid color-mix(in srgb,currentColor 22%,transparent)}"
    ".hero "
    ".dot{flex:none;width:3rem;height:3rem;border-radius:50%;background:currentColor;display:grid;"
    "place-items:center}.hero .dot svg{width:1.5rem;height:1.5rem;stroke:var(--card)}"
    ".hero h1{font-size:1.5rem;line-height:1.25;font-weight:700;letter-spacing:-.02em}"
    ".hero p{color:var(--dim);font-size:.92rem;margin-top:.15rem}"
    ".s0{color:var(--ok)}.s1{color:var(--mt)}.s2{color:var(--dg)}.s3{color:var(--po)}.s4{color:var("
    "--mo)}"
    ".su{color:var(--un)}"
    ".h0{color:var(--ok);background:var(--okb)}.h1{color:var(--mt);background:var(--mtb)}"
    ".h2{color:var(--dg);background:var(--dgb)}.h3{color:var(--po);background:var(--pob)}"
    ".h4{color:var(--mo);background:var(--mob)}.hu{color:var(--un);background:var(--unb)}"
    ".stale{margin-top:.9rem;padding:.8rem "
    "1.1rem;border-radius:12px;background:var(--dgb);color:var(--dg);"
    "font-size:.95rem;border:1px solid color-mix(in srgb,currentColor 25%,transparent)}"
    ".inc{padding:1.25rem 1.5rem;margin-bottom:1rem;border-left:5px solid var(--bn)}"
    ".i0{border-left-color:var(--b0)}.i1{border-left-color:var(--b2)}.i2{border-left-color:var(--"
    "b3)}"
    ".i3{border-left-color:var(--b4)}.ip{border-left-color:var(--b1)}"
    ".inc h3,.inc h1{font-size:1.08rem;font-weight:650;line-height:1.4}.inc h1{font-size:1.4rem}"
    ".tags{margin:.4rem 0 0;font-size:.85rem;color:var(--dim);display:flex;gap:.35rem "
    ".6rem;flex-wrap:wrap;"
    "align-items:center}.tag{padding:.08rem "
    ".6rem;border-radius:99px;font-weight:600;font-size:.8rem}"
    ".ups{list-style:none;margin:1rem 0 0;padding:0}.ups li{padding:.65rem 0 0;margin-top:.65rem;"
    "border-top:1px solid var(--line)}.ups "
    "b{font-weight:650}time,.sm{color:var(--dim);font-size:.86rem}"
    ".comps{padding:0 1.5rem}.comps>ul,.sub{list-style:none;margin:0;padding:0}"
    ".c{padding:1.15rem 0 1.05rem}.comps>ul>.c+.c{border-top:1px solid var(--line)}"
    ".sub{margin-top:.4rem;padding-left:1.1rem;border-left:2px solid var(--line)}.sub "
    ".c{padding:.75rem 0}"
    ".row{display:flex;justify-content:space-between;gap:1rem;align-items:baseline}"
    ".row h3{font-size:1rem;font-weight:620}.row h3 "
    "small{display:block;font-weight:400;color:var(--dim);"
    "font-size:.86rem;line-height:1.4}"
    ".st{flex:none;font-weight:620;font-size:.92rem;display:inline-flex;gap:.4rem;align-items:"
    "center}"
    ".st svg{width:.95rem;height:.95rem}"
    ".bars{display:block;width:100%;height:2.1rem;margin:.7rem 0 .35rem;forced-color-adjust:none}"
    ".bars rect{fill:var(--bn)}.bars .k0{fill:var(--b0)}.bars .k1{fill:var(--b1)}.bars "
    ".k2{fill:var(--b2)}"
    ".bars .k3{fill:var(--b3)}.bars .k4{fill:var(--b4)}.bars rect:hover{opacity:.65}"
    ".axis{display:flex;align-items:center;gap:.8rem;font-size:.8rem;color:var(--dim);white-space:"
    "nowrap}"
    ".axis i{flex:1;height:1px;background:var(--line)}"
    "details{font-size:.86rem;color:var(--dim);margin-top:.35rem}summary{cursor:pointer}"
    "details ul{margin:.35rem 0 0;padding-left:1.2rem}"
    "footer{margin:2.75rem 0 2.5rem;padding-top:1.25rem;border-top:1px solid "
    "var(--line);color:var(--dim);"
    "font-size:.86rem}footer p{margin-top:.75rem}"
    "@media(max-width:34rem){.hero{padding:1.15rem}.hero h1{font-size:1.25rem}.comps{padding:0 "
    "1.1rem}"
    ".inc{padding:1.1rem}.hero .dot{width:2.5rem;height:2.5rem}header{padding:1.15rem 0}}"
    "@media print{.card,.hero{box-shadow:none;break-inside:avoid}}";

void page_hash(struct str text, char out[64])
{
    uint8_t digest[crypto_hash_sha256_BYTES];
    char code[sodium_base64_ENCODED_LEN(sizeof digest, sodium_base64_VARIANT_ORIGINAL)];
    crypto_hash_sha256(digest, (const unsigned char *)text.p, text.n);
    sodium_bin2base64(code, sizeof code, digest, sizeof digest, sodium_base64_VARIANT_ORIGINAL);
    snprintf(out, 64, "sha256-%s", code);
}

void page_style_hash(char out[64])
{
    page_hash(str_from(page_style), out);
}
