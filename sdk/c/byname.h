/*
 * What a byname plug-in in C needs: one header, no library. docs/plugins.md describes the interface.
 *
 *   clang --target=wasm32 -O2 -fno-builtin -nostdlib -Wl,--no-entry,--strip-all -o block-list.wasm examples/block-list.c
 *
 * A plug-in defines byname_configure and byname_query with BYNAME_EXPORT, and byname_reply if it wants to see replies.
 */
#ifndef BYNAME_H
#define BYNAME_H

#include <stdint.h>

#define BYNAME_EXPORT(name) __attribute__((export_name(name)))
#define BYNAME_IMPORT(name) __attribute__((import_module("byname"), import_name(name)))

enum byname_action { BYNAME_PASS, BYNAME_ANSWER, BYNAME_REWRITE, BYNAME_RCODE, BYNAME_DROP };

enum byname_flag { BYNAME_EDNS = 1, BYNAME_DO = 2, BYNAME_CD = 4, BYNAME_RD = 8, BYNAME_SAME_MACHINE = 16 };

#define BYNAME_NO_EXTENDED_ERROR 0xffff
#define BYNAME_BUFFER_BYTES 65600

/* Numbers are little-endian, as all of WebAssembly is. A plug-in may write message_length, rcode, extended_error and ttl. */
struct byname_header {
  uint16_t version;
  uint16_t header_length;
  uint32_t message_length;
  uint32_t capacity;
  uint8_t is_reply;
  uint8_t is_tcp;
  uint8_t family; /* 4 or 6 */
  uint8_t source; /* of a reply: 0 mesh, 1 cache, 2 stale, 3 upstream, 4 local */
  uint8_t address[16];
  uint16_t port;
  uint16_t type;
  uint16_t class_;
  uint16_t name_offset;
  uint64_t now_ms;
  uint16_t max_reply_length;
  uint16_t flags;
  uint16_t rcode;
  uint16_t extended_error;
  uint32_t ttl;
  uint16_t question_end;
  uint16_t zero;
};

/* All optional: what is not called is not imported. */
BYNAME_IMPORT("log") void byname_log(const char *text, uint32_t length);
BYNAME_IMPORT("now") uint64_t byname_now(void);
BYNAME_IMPORT("counter") void byname_counter(uint32_t id, uint32_t delta);
BYNAME_IMPORT("counter_name") void byname_counter_name(uint32_t id, const char *text, uint32_t length);
BYNAME_IMPORT("random") uint32_t byname_random(void);

static uint8_t byname_storage[BYNAME_BUFFER_BYTES] __attribute__((aligned(8)));

BYNAME_EXPORT("byname_abi") int32_t byname_abi(void) { return 1; }
BYNAME_EXPORT("byname_buffer") void *byname_buffer(void) { return byname_storage; }

static inline struct byname_header *byname_head(void) { return (struct byname_header *)byname_storage; }
/* The message, as it is on the wire. */
static inline uint8_t *byname_message(void) { return byname_storage + byname_head()->header_length; }
/* Name of the question, in wire format. */
static inline uint8_t *byname_name(void) { return byname_message() + byname_head()->name_offset; }

static inline void byname_copy(uint8_t *to, const uint8_t *from, uint32_t length) {
  for (uint32_t i = 0; i < length; i++) to[i] = from[i];
}

/* Bytes of a name in wire format, its root included. */
static inline uint32_t byname_name_length(const uint8_t *name) {
  uint32_t at = 0;
  while (name[at] != 0) at += name[at] + 1u;
  return at + 1;
}

static inline uint8_t byname_lower(uint8_t byte) { return byte >= 'A' && byte <= 'Z' ? byte | 32 : byte; }

static inline int byname_is_same(const uint8_t *one, const uint8_t *other, uint32_t length) {
  for (uint32_t i = 0; i < length; i++)
    if (byname_lower(one[i]) != byname_lower(other[i])) return 0;
  return 1;
}

/* Where `domain` begins in `name`: 0 if they are one name. -1 if the name is not at or below the domain. */
static inline int32_t byname_find_domain(const uint8_t *name, const uint8_t *domain) {
  uint32_t length = byname_name_length(domain), left = byname_name_length(name), at = 0;
  while (left > length) {
    uint32_t label = name[at] + 1u;
    at += label;
    left -= label;
  }
  return left == length && byname_is_same(name + at, domain, length) ? (int32_t)at : -1;
}

/* Denies the query. `extended_error` as in RFC 8914: 15 blocked, 17 filtered. */
static inline int32_t byname_deny(uint16_t rcode, uint16_t extended_error) {
  byname_head()->rcode = rcode;
  byname_head()->extended_error = extended_error;
  return BYNAME_RCODE;
}

/* Turns the query into a reply with one record of the question's name. */
static inline int32_t byname_answer(uint16_t type, uint32_t ttl, const uint8_t *data, uint16_t length) {
  struct byname_header *head = byname_head();
  uint8_t *message = byname_message(), *to = message + head->question_end;
  message[2] |= 0x80; /* QR */
  message[3] = 0x80;  /* RA, NOERROR */
  for (int i = 6; i < 12; i++) message[i] = 0;
  message[7] = 1; /* one answer */
  const uint8_t fixed[12] = {0xc0, (uint8_t)head->name_offset, type >> 8, type, 0, 1, ttl >> 24, ttl >> 16, ttl >> 8, ttl, length >> 8, length};
  byname_copy(to, fixed, 12);
  byname_copy(to + 12, data, length);
  head->message_length = head->question_end + 12u + length;
  return BYNAME_ANSWER;
}

/* Gives the question another name: `kept` bytes of its own, then `domain`. Passes the query on if that would be too long. */
static inline int32_t byname_rename(uint32_t kept, const uint8_t *domain) {
  struct byname_header *head = byname_head();
  uint8_t *message = byname_message(), *to = byname_name() + kept, tail[4];
  uint32_t length = byname_name_length(domain);
  if (kept + length > 255) return BYNAME_PASS;
  byname_copy(tail, message + head->question_end - 4, 4);
  byname_copy(to, domain, length);
  byname_copy(to + length, tail, 4);
  for (int i = 6; i < 12; i++) message[i] = 0;
  head->message_length = head->name_offset + kept + length + 4;
  return BYNAME_REWRITE;
}

/* Reading a configuration: words between white space. */
struct byname_text {
  const uint8_t *at;
  const uint8_t *end;
};

static inline struct byname_text byname_config(uint32_t length) {
  struct byname_text text = {byname_storage, byname_storage + length};
  return text;
}

/* The next word; its length is 0 at the end. */
static inline const uint8_t *byname_word(struct byname_text *text, uint32_t *length) {
  while (text->at < text->end && *text->at <= ' ') text->at++;
  const uint8_t *word = text->at;
  while (text->at < text->end && *text->at > ' ') text->at++;
  *length = (uint32_t)(text->at - word);
  return word;
}

/* Writes a name such as `ads.example` in wire format. Returns its bytes, 0 if it is none. */
static inline uint32_t byname_parse_name(const uint8_t *word, uint32_t length, uint8_t *to) {
  uint32_t at = 1, label = 0;
  if (length > 0 && word[length - 1] == '.') length--;
  if (length == 0 || length > 253) return 0;
  for (uint32_t i = 0; i <= length; i++) {
    if (i < length && word[i] != '.') {
      to[at++] = word[i];
      continue;
    }
    if (at - label - 1 == 0 || at - label - 1 > 63) return 0;
    to[label] = (uint8_t)(at - label - 1);
    label = at++;
  }
  to[label] = 0;
  return label + 1;
}

/* Reads an IPv4 address; 0 if it is none. */
static inline int byname_parse_address(const uint8_t *word, uint32_t length, uint8_t to[4]) {
  uint32_t part = 0, value = 0, digits = 0;
  for (uint32_t i = 0; i <= length; i++) {
    if (i < length && word[i] >= '0' && word[i] <= '9' && digits < 3) {
      value = value * 10 + (word[i] - '0');
      digits++;
      continue;
    }
    if (digits == 0 || value > 255 || part > 3 || (i < length && word[i] != '.')) return 0;
    to[part++] = (uint8_t)value;
    value = digits = 0;
  }
  return part == 4;
}

#endif
