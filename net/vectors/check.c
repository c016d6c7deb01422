/* Checks what of the conformance vectors needs no cipher: framing, pairing's but for its points, FEC
 * over GF(2^8), feedback, echo, sound, input and cursor. Written from net/PROTOCOL.md, with nothing but the
 * standard library; check.py checks all of them.
 *
 *   cc -std=c11 check.c -o check && ./check DIRECTORY
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES_MAX 64
#define LINE_BYTES_MAX 16384

/* A line of a block: a name, and a value as number and as bytes. */
struct line {
  char name[32];
  uint64_t number;
  uint8_t bytes[LINE_BYTES_MAX / 2];
  size_t length;
};

static struct line lines[LINES_MAX];
static int line_count;
static char vector[128];
static const char *file_name;
static int checked;

static void fail(const char *what) {
  fprintf(stderr, "%s: %s: %s\n", file_name, vector, what);
  exit(1);
}

static void expect(const char *what, uint64_t found, uint64_t wanted) {
  if (found != wanted) {
    fprintf(stderr, "%s: %s: %s: found %llu, expected %llu\n", file_name, vector, what,
            (unsigned long long)found, (unsigned long long)wanted);
    exit(1);
  }
}

/* The n-th line of a name, or NULL. */
static const struct line *find(const char *name, int n) {
  for (int i = 0; i < line_count; i++) {
    if (strcmp(lines[i].name, name) == 0 && n-- == 0) {
      return &lines[i];
    }
  }
  return NULL;
}

static const struct line *get(const char *name) {
  const struct line *line = find(name, 0);
  if (line == NULL) {
    fail(name);
  }
  return line;
}

static uint64_t little(const uint8_t *bytes, int count) {
  uint64_t value = 0;
  while (count-- > 0) {
    value = value << 8 | bytes[count];
  }
  return value;
}

static int digit(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void read_line(const char *text) {
  struct line *line = &lines[line_count++];
  const char *value = strchr(text, ' ');
  if (value == NULL || line_count == LINES_MAX || value - text >= (int)sizeof line->name) {
    fail("a line is no name and value");
  }
  memset(line->name, 0, sizeof line->name);
  memcpy(line->name, text, (size_t)(value - text));
  value++;
  line->number = strtoull(value, NULL, 10);
  line->length = 0;
  for (; value[0] && value[1] && digit(value[0]) >= 0 && digit(value[1]) >= 0; value += 2) {
    line->bytes[line->length++] = (uint8_t)(digit(value[0]) << 4 | digit(value[1]));
  }
}

static void check_message(void) {
  const struct line *message = get("message");
  expect("type", little(message->bytes, 2), get("type")->number);
  expect("length", little(message->bytes + 2, 4), message->length - 6);
  if (get("type")->number == 0x0040) {
    const struct line *piece = get("piece");
    uint64_t left = get("total-bytes")->number - get("offset")->number;
    expect("serial", little(message->bytes + 6, 4), get("serial")->number);
    expect("seen", little(message->bytes + 10, 4), get("seen")->number);
    expect("total", little(message->bytes + 14, 4), get("total-bytes")->number);
    expect("offset", little(message->bytes + 18, 4), get("offset")->number);
    expect("size", little(message->bytes + 22, 2), left < 8192 ? left : 8192);
    expect("bytes", message->length, 24 + piece->length);
    expect("piece", (uint64_t)memcmp(message->bytes + 24, piece->bytes, piece->length), 0);
  }
}

/* Framing, points and names; check.py computes the shares and the confirmations. */
static void check_pairing(void) {
  static const char *const names[] = {"request", "reply", "confirm", "done"};
  static const size_t bytes[] = {65, 65, 32, 32};
  for (int i = 0; i < 4; i++) {
    const struct line *message = get(names[i]);
    size_t text = 6 + bytes[i];
    expect("type", little(message->bytes, 2), 0x0030 + (uint64_t)i);
    expect("length", little(message->bytes + 2, 4), message->length - 6);
    if (bytes[i] == 65) {
      expect("uncompressed", message->bytes[6], 4);
    }
    if (i == 0 || i == 3) {
      const struct line *name = get(i == 0 ? "client-name" : "host-name");
      expect("name's length", little(message->bytes + text, 2), name->length);
      expect("bytes", message->length, text + 2 + name->length);
      expect("name", (uint64_t)memcmp(message->bytes + text + 2, name->bytes, name->length), 0);
    } else {
      expect("bytes", message->length, text);
    }
  }
}

static uint8_t multiply(uint8_t a, uint8_t b) {
  unsigned product = 0;
  for (int bit = 7; bit >= 0; bit--) {
    product = product << 1 ^ (product & 0x80 ? 0x11D : 0);
    product ^= b >> bit & 1 ? a : 0U;
  }
  return (uint8_t)product;
}

static uint8_t inverse(uint8_t a) {
  uint8_t b = 1;
  while (multiply(a, b) != 1) {
    b++;
  }
  return b;
}

static void check_fec(void) {
  size_t k = get("k")->number, m = get("m")->number, size = get("shard-bytes")->number;
  const uint8_t *data = get("data")->bytes, *parity = get("parity")->bytes;
  if (get("code")->number != 1) {
    return;
  }
  expect("data", get("data")->length, k * size);
  expect("parity", get("parity")->length, m * size);
  for (size_t j = 0; j < m; j++) {
    uint8_t row[255];
    for (size_t i = 0; i < k; i++) {
      row[i] = inverse((uint8_t)((m + i) ^ j));
    }
    for (size_t at = 0; at < size; at++) {
      uint8_t sum = 0;
      for (size_t i = 0; i < k; i++) {
        sum ^= multiply(row[i], data[i * size + at]);
      }
      expect("parity", parity[j * size + at], sum);
    }
  }
}

static void check_feedback(void) {
  const struct line *echo = find("echo", 0);
  if (echo != NULL) {
    expect("length", echo->length, 24);
    expect("t1", little(echo->bytes, 8), get("t1-ns")->number);
    expect("t2", little(echo->bytes + 8, 8), get("t2-ns")->number);
    expect("t3", little(echo->bytes + 16, 8), get("t3-ns")->number);
    return;
  }
  const uint8_t *body = get("feedback")->bytes;
  expect("sent", little(body, 8), get("sent-ns")->number);
  expect("received", little(body + 8, 8), get("received")->number);
  expect("last good", little(body + 32, 4), get("last-good")->number);
  expect("decode", little(body + 44, 4), get("decode-us")->number);
  expect("length", get("feedback")->length, 52 + 8U * body[50] + 8U * body[51]);
  for (int i = 0; i < body[50]; i++) {
    const uint8_t *receipt = body + 52 + 8 * i;
    const struct line *first = find("receipt-first", i), *count = find("receipt-count", i);
    if (first == NULL || count == NULL) {
      fail("more receipts than are listed");
    }
    expect("first", little(body + 16, 8) + little(receipt, 4), first->number);
    expect("count", little(receipt + 4, 2), count->number);
  }
}

static void check_audio(void) {
  const struct line *report = find("report", 0);
  if (report != NULL) {
    expect("length", report->length, 16);
    expect("kind", report->bytes[0], 0xCB);
    expect("delay", little(report->bytes + 2, 2), get("delay-ms")->number);
    expect("newest", little(report->bytes + 4, 4), get("newest")->number);
    expect("arrived", little(report->bytes + 8, 8), get("arrived")->number);
    return;
  }
  const struct line *audio = get("audio"), *packet = get("packet");
  const uint8_t *body = audio->bytes;
  size_t copies = body[2], at = 14 + 3 * copies, length = little(body + 12, 2);
  expect("kind", body[0], 0xC9);
  expect("number", little(body + 4, 4), get("number")->number);
  expect("captured", little(body + 8, 4), (uint32_t)get("captured-us")->number);
  expect("packet's length", length, packet->length);
  expect("packet", memcmp(body + at, packet->bytes, length) == 0, 1);
  at += length;
  for (size_t i = 0; i < copies; i++) {
    at += little(body + 15 + 3 * i, 2);
  }
  expect("length", audio->length, at);
}

static void check_input(void) {
  static const size_t event_bytes[] = {0, 2, 0, 4, 4, 2, 3, 17, 16, 8, 17, 13, 14, 3};
  const struct line *output = find("output", 0), *packet;
  uint64_t before = 0;
  if (output != NULL) {
    expect("length", output->length, 11);
    expect("kind", little(output->bytes, 2), 0x01CA);
    expect("controller", output->bytes[6], 3);
    expect("motors", little(output->bytes + 7, 4), 0xFFFF1234);
    return;
  }
  for (int n = 0; (packet = find("input", n)) != NULL; n++) {
    const uint8_t *body = packet->bytes;
    size_t at = 12 + (body[1] & 2 ? 33 : 0) + (body[1] & 1 ? 21 : 0);
    expect("kind", body[0], 0xC8);
    expect("newer", little(body + 2, 4) > before, 1);
    before = little(body + 2, 4);
    for (int i = body[10] + body[11]; i > 0; i--) {
      expect("kind of event", body[at] >= 1 && body[at] <= 13, 1);
      at += body[at] == 2 ? 2U + body[at + 1] : 1 + event_bytes[body[at]];
    }
    expect("length", packet->length, at);
  }
}

static void check_microphone(void) {
  const struct line *packet = get("packet");
  const struct line *datagram = get("datagram");
  expect("kind and stream", little(datagram->bytes, 2), 0x00CC);
  expect("number", little(datagram->bytes + 4, 4), get("number")->number);
  expect("length", datagram->length, 8 + packet->length);
  expect("packet", (uint64_t)memcmp(datagram->bytes + 8, packet->bytes, packet->length), 0);
}

static void check_cursor(void) {
  static const char *const names[] = {"visibility",   "sequence",      "shape",     "x", "y",
                                      "output-width", "output-height", "changed-us"};
  static const int ends[] = {1, 2, 6, 10, 14, 18, 20, 22, 26};
  static const char *const of_shape[] = {"number", "place", "width", "height", "hotspot-x", "hotspot-y"};
  static const int begins[] = {0, 4, 6, 8, 10, 12}, sizes[] = {4, 1, 2, 2, 2, 2};
  const struct line *state = find("state", 0), *message, *pixels;
  size_t at = 0;
  if (state != NULL) {
    message = get("message");
    expect("length", state->length, 26);
    expect("kind", state->bytes[0], 0xCD);
    for (int i = 0; i < 8; i++) {
      expect(names[i], little(state->bytes + ends[i], ends[i + 1] - ends[i]), get(names[i])->number);
    }
    expect("type", little(message->bytes, 2), 0x0049);
    expect("length", little(message->bytes + 2, 4), 26);
    expect("message", memcmp(message->bytes + 6, state->bytes, 26) == 0 && message->length == 32, 1);
    return;
  }
  pixels = get("pixels");
  for (int n = 0; (message = find("part", n)) != NULL; n++) {
    const uint8_t *body = message->bytes + 6;
    size_t row = 4 * get("width")->number, bytes = row * little(body + 16, 2);
    expect("type", little(message->bytes, 2), 0x0048);
    expect("length", little(message->bytes + 2, 4), 18 + bytes);
    expect("bytes", message->length, 24 + bytes);
    for (int i = 0; i < 6; i++) {
      expect(of_shape[i], little(body + begins[i], sizes[i]), get(of_shape[i])->number);
    }
    expect("first row", little(body + 14, 2) * row, at);
    expect("rows", at + bytes <= pixels->length, 1);
    expect("pixels", memcmp(pixels->bytes + at, body + 18, bytes) == 0, 1);
    at += bytes;
  }
  expect("all pixels", at, pixels->length);
  expect("height", at, 4 * get("width")->number * get("height")->number);
}

static void check_file(const char *directory, const char *name, void (*check)(void)) {
  static char text[LINE_BYTES_MAX];
  FILE *file;
  file_name = name;
  vector[0] = 0;
  snprintf(text, sizeof text, "%s/%s", directory, name);
  file = fopen(text, "r");
  if (file == NULL) {
    fail("cannot be opened");
  }
  for (;;) {
    char *more = fgets(text, sizeof text, file);
    if (more != NULL) {
      text[strcspn(text, "\n")] = 0;
    }
    if (more == NULL || strncmp(text, "vector ", 7) == 0) {
      if (vector[0]) {
        check();
        checked++;
      }
      if (more == NULL) {
        break;
      }
      snprintf(vector, sizeof vector, "%.120s", text + 7);
      line_count = 0;
    } else if (text[0] && text[0] != '#') {
      read_line(text);
    }
  }
  fclose(file);
}

int main(int count, char **arguments) {
  const char *directory = count > 1 ? arguments[1] : ".";
  check_file(directory, "messages.txt", check_message);
  check_file(directory, "pairing.txt", check_pairing);
  check_file(directory, "fec.txt", check_fec);
  check_file(directory, "feedback.txt", check_feedback);
  check_file(directory, "audio.txt", check_audio);
  check_file(directory, "input.txt", check_input);
  check_file(directory, "microphone.txt", check_microphone);
  check_file(directory, "cursor.txt", check_cursor);
  printf("%d vectors hold\n", checked);
  return 0;
}
