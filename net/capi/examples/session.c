/* A whole session with libpunktfunk: asks for a host's fingerprint, connects, takes pictures and
 * sound on threads of their own, types, moves and speaks, and ends.
 *
 *   session HOST[:PORT] FINGERPRINT FRAMES frames|slices OUT.h264
 *
 * FINGERPRINT is what the host prints (64 hexadecimal digits). The pictures go to OUT.h264. Lines
 * on standard output say what came; harness/tests/capi.rs reads them. The exit status is 0 if
 * everything went as it must.
 *
 *   cc -I../include session.c -lpunktfunk -lpthread
 *   cc -I../include session.c libpunktfunk.a -lstdc++ -lpthread -ldl -lm
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

/* Of clock_nanosleep. */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "punktfunk.h"

/* Long enough for a machine that has a lot to do. */
#define PATIENCE_MS 60000
#define AUDIO_PACKETS 40
/* Of a packet of the microphone. */
#define PACKET_NS 5000000L

struct client {
  PunktfunkSession *session;
  unsigned frames_wanted;
  FILE *out;
  unsigned frames;
  unsigned units;
  unsigned packets;
  PunktfunkStatus pads_ended;
  PunktfunkStatus voice_ended;
  /* Of the controllers' thread. */
  pthread_mutex_t lock;
  pthread_cond_t rumbled;
  unsigned rumbles;
  int pads_done;
};

static void fail(const char *what, PunktfunkStatus status) {
  fprintf(stderr, "%s: status %d: %s\n", what, (int)status, punktfunk_last_error());
  exit(1);
}

static void expect(const char *what, PunktfunkStatus status, PunktfunkStatus expected) {
  if (status != expected) {
    fail(what, status);
  }
}

static void must(const char *what, PunktfunkStatus status) {
  expect(what, status, PUNKTFUNK_STATUS_OK);
}

/* An identity as a program keeps it: made once, stored as two texts, loaded ever after. */
static PunktfunkIdentity *identity_by_way_of_pem(void) {
  PunktfunkIdentity *made = NULL;
  PunktfunkIdentity *loaded = NULL;
  uint8_t certificate[4096];
  uint8_t key[4096];
  uint8_t before[PUNKTFUNK_FINGERPRINT_BYTES];
  uint8_t after[PUNKTFUNK_FINGERPRINT_BYTES];
  size_t certificate_bytes = sizeof certificate;
  size_t key_bytes = sizeof key;
  must("generate", punktfunk_identity_generate(&made));
  must("certificate", punktfunk_identity_certificate(made, certificate, &certificate_bytes));
  must("key", punktfunk_identity_key(made, key, &key_bytes));
  must("fingerprint", punktfunk_identity_fingerprint(made, before));
  must("load", punktfunk_identity_load(certificate, certificate_bytes, key, key_bytes, &loaded));
  must("fingerprint", punktfunk_identity_fingerprint(loaded, after));
  if (memcmp(before, after, sizeof before) != 0) {
    fprintf(stderr, "the identity has changed on its way\n");
    exit(1);
  }
  punktfunk_identity_free(made);
  return loaded;
}

/* What a person does who compares the fingerprint with the one that the host shows. */
static int32_t compare(void *expected, const uint8_t *fingerprint) {
  return memcmp(expected, fingerprint, PUNKTFUNK_FINGERPRINT_BYTES) == 0;
}

static int read_fingerprint(const char *text, uint8_t *fingerprint) {
  if (strlen(text) != 2 * PUNKTFUNK_FINGERPRINT_BYTES) {
    return 0;
  }
  for (int i = 0; i < PUNKTFUNK_FINGERPRINT_BYTES; i++) {
    unsigned byte;
    if (sscanf(text + 2 * i, "%2x", &byte) != 1) {
      return 0;
    }
    fingerprint[i] = (uint8_t)byte;
  }
  return 1;
}

/* None of these attempts makes a session, and each says why. */
static void attempt_in_vain(PunktfunkConnectOptions options, const uint8_t *fingerprint) {
  PunktfunkSession *session = NULL;
  PunktfunkConnectResult result = {.struct_size = sizeof result};

  options.trust = PUNKTFUNK_TRUST_PINNED;
  memcpy(options.fingerprint, fingerprint, sizeof options.fingerprint);
  options.fingerprint[0] ^= 1;
  expect("wrong pin", punktfunk_connect(&options, &result, &session), PUNKTFUNK_STATUS_IMPOSTOR);
  if (memcmp(result.fingerprint, fingerprint, sizeof result.fingerprint) != 0) {
    fprintf(stderr, "the impostor's fingerprint is not told\n");
    exit(1);
  }
  options.trust = PUNKTFUNK_TRUST_ASK;
  options.ask = NULL;
  expect("nobody to ask", punktfunk_connect(&options, &result, &session),
         PUNKTFUNK_STATUS_UNKNOWN_HOST);
  options.struct_size = 12;
  expect("no such size", punktfunk_connect(&options, NULL, &session),
         PUNKTFUNK_STATUS_STRUCT_SIZE);
  options.struct_size = sizeof options;
  options.width = 1;
  expect("no such mode", punktfunk_connect(&options, NULL, &session),
         PUNKTFUNK_STATUS_INVALID_ARGUMENT);
  if (session != NULL) {
    fprintf(stderr, "a session came of nothing\n");
    exit(1);
  }
}

static void *take_pictures(void *argument) {
  struct client *client = argument;
  PunktfunkUnit unit = {.struct_size = sizeof unit};
  while (client->frames < client->frames_wanted) {
    must("next unit", punktfunk_next_unit(client->session, PATIENCE_MS, &unit));
    if (client->units == 0 && !(unit.flags & PUNKTFUNK_UNIT_KEYFRAME)) {
      fprintf(stderr, "the first picture is no IDR\n");
      exit(1);
    }
    fwrite(unit.data, 1, unit.length, client->out);
    printf("unit %u %zu %u\n", unit.frame, unit.length, unit.flags);
    client->units++;
    if (unit.flags & PUNKTFUNK_UNIT_ENDS) {
      client->frames++;
      must("decoded", punktfunk_decoded(client->session, 1000));
    }
  }
  must("release", punktfunk_release_unit(client->session));
  return NULL;
}

static void *take_sound(void *argument) {
  struct client *client = argument;
  PunktfunkAudio audio = {.struct_size = sizeof audio};
  while (client->packets < AUDIO_PACKETS) {
    must("next audio", punktfunk_next_audio(client->session, PATIENCE_MS, &audio));
    client->packets += audio.length > 0;
  }
  return NULL;
}

/* 5 ms of a tone of 1 kHz, at 12 dB below full scale: five whole periods, encoded by libopus at
 * 64 kbit/s without prediction, so that the same packet over and over is the tone. */
static const uint8_t tone[] = {
    0xe8, 0x6c, 0x1e, 0x64, 0x3d, 0x77, 0xbb, 0xfc, 0x74, 0x93, 0x0c, 0x5e, 0x7f, 0x0d,
    0xb6, 0x9f, 0x7d, 0xcd, 0xba, 0xb0, 0xf1, 0xc7, 0xf5, 0x1d, 0x67, 0xd8, 0x0d, 0xf4,
    0x94, 0xec, 0x8d, 0x1a, 0xc9, 0x7c, 0x7a, 0xa1, 0xee, 0x6a, 0xb3, 0x32};

/* Until the session's end, at the pace that a microphone would set. */
static void *speak(void *argument) {
  struct client *client = argument;
  struct timespec due;
  client->voice_ended = punktfunk_send_microphone(client->session, tone, 0);
  if (client->voice_ended == PUNKTFUNK_STATUS_NO_MICROPHONE) {
    return NULL;
  }
  expect("no packet", client->voice_ended, PUNKTFUNK_STATUS_INVALID_ARGUMENT);
  clock_gettime(CLOCK_MONOTONIC, &due);
  do {
    client->voice_ended = punktfunk_send_microphone(client->session, tone, sizeof tone);
    due.tv_nsec += PACKET_NS;
    if (due.tv_nsec >= 1000000000L) {
      due.tv_nsec -= 1000000000L;
      due.tv_sec++;
    }
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
    /* A full queue: what waits there is sent, and this packet was left out. */
  } while (client->voice_ended == PUNKTFUNK_STATUS_OK ||
           client->voice_ended == PUNKTFUNK_STATUS_QUEUE_FULL);
  return NULL;
}

/* Waits for as long as it takes: the session's end brings it back. */
static void *take_pad_output(void *argument) {
  struct client *client = argument;
  PunktfunkPadOutput output = {.struct_size = sizeof output};
  do {
    client->pads_ended = punktfunk_next_pad_output(client->session, PUNKTFUNK_FOREVER, &output);
    if (client->pads_ended == PUNKTFUNK_STATUS_OK) {
      printf("pad %u %u %u\n", output.controller, output.strong, output.weak);
      pthread_mutex_lock(&client->lock);
      client->rumbles++;
      pthread_cond_signal(&client->rumbled);
      pthread_mutex_unlock(&client->lock);
    }
    /* Busy: whoever looks whether this thread waits came first. */
  } while (client->pads_ended == PUNKTFUNK_STATUS_OK ||
           client->pads_ended == PUNKTFUNK_STATUS_BUSY);
  pthread_mutex_lock(&client->lock);
  client->pads_done = 1;
  pthread_cond_signal(&client->rumbled);
  pthread_mutex_unlock(&client->lock);
  return NULL;
}

/* Until another thread waits for controllers' output: asking as well is answered at once. */
static void wait_until_busy(const PunktfunkSession *session) {
  PunktfunkPadOutput output = {.struct_size = sizeof output};
  PunktfunkStatus status;
  do {
    status = punktfunk_next_pad_output(session, 0, &output);
  } while (status == PUNKTFUNK_STATUS_TIMED_OUT);
  expect("two at once", status, PUNKTFUNK_STATUS_BUSY);
}

/* One of everything: 16 events. */
static void *act(void *argument) {
  const PunktfunkSession *session = ((struct client *)argument)->session;
  const char *text = "äöü";
  size_t taken = 0;
  PunktfunkContact contact = {
      .x = 0.25F, .y = 0.75F, .rotation = PUNKTFUNK_ROTATION_UNKNOWN};
  PunktfunkTouch touch = {.struct_size = sizeof touch, .finger = 1};
  PunktfunkPen pen = {.struct_size = sizeof pen, .tool = 1, .tilt = PUNKTFUNK_UNKNOWN};
  PunktfunkPadArrival arrival = {.struct_size = sizeof arrival, .kind = 1, .capabilities = 3};
  PunktfunkPadState state = {.struct_size = sizeof state, .present = 1, .buttons = 0x1000,
                             .left_trigger = 255};
  PunktfunkPadTouch pad_touch = {.struct_size = sizeof pad_touch, .kind = PUNKTFUNK_CONTACT_DOWN};
  PunktfunkPadMotion motion = {.struct_size = sizeof motion, .sensor = 1, .axes = {1, 2, 3}};
  PunktfunkPadBattery battery = {.struct_size = sizeof battery, .state = 2, .percent = 50};

  must("key", punktfunk_send_key(session, 'A', PUNKTFUNK_KEY_PRESSED));
  must("key", punktfunk_send_key(session, 'A', 0));
  must("text", punktfunk_send_text(session, (const uint8_t *)text, strlen(text), &taken));
  if (taken != strlen(text)) {
    fail("not all of the text was taken", PUNKTFUNK_STATUS_OK);
  }
  must("motion", punktfunk_send_pointer_motion(session, 5, -5));
  must("position", punktfunk_send_pointer_position(session, 0.5F, 0.5F));
  must("button", punktfunk_send_pointer_button(session, PUNKTFUNK_BUTTON_LEFT, 1));
  must("button", punktfunk_send_pointer_button(session, PUNKTFUNK_BUTTON_LEFT, 0));
  must("scroll", punktfunk_send_scroll(session, PUNKTFUNK_SCROLL_VERTICAL, -120));
  contact.kind = PUNKTFUNK_CONTACT_DOWN;
  touch.contact = contact;
  must("touch", punktfunk_send_touch(session, &touch));
  touch.contact.kind = PUNKTFUNK_CONTACT_UP;
  must("touch", punktfunk_send_touch(session, &touch));
  pen.contact = contact;
  must("pen", punktfunk_send_pen(session, &pen));
  must("arrival", punktfunk_send_pad_arrival(session, &arrival));
  must("state", punktfunk_send_pad_state(session, &state));
  must("touchpad", punktfunk_send_pad_touch(session, &pad_touch));
  must("sensor", punktfunk_send_pad_motion(session, &motion));
  must("battery", punktfunk_send_pad_battery(session, &battery));
  expect("no such controller",
         (arrival.controller = 16, punktfunk_send_pad_arrival(session, &arrival)),
         PUNKTFUNK_STATUS_INVALID_ARGUMENT);
  return NULL;
}

/* The pointer, drawn by the program: the synthetic host shows an arrow where it was put. */
static void follow_the_pointer(const PunktfunkSession *session) {
  PunktfunkCursor cursor = {.struct_size = sizeof cursor};
  must("position", punktfunk_send_pointer_position(session, 0.25F, 0.75F));
  do {
    must("next cursor", punktfunk_next_cursor(session, PATIENCE_MS, &cursor));
  } while (cursor.visibility != PUNKTFUNK_CURSOR_SHOWN || cursor.x != 80 || cursor.y != 180);
  if (cursor.shape == 0 || cursor.pixels == NULL || cursor.pixels[3] != 255 ||
      cursor.hotspot_x != 0 || cursor.output_width != 320 || cursor.output_height != 240) {
    fail("the pointer has no shape", PUNKTFUNK_STATUS_OK);
  }
  printf("cursor %ux%u\n", cursor.width, cursor.height);
}

static void describe(const PunktfunkSession *session) {
  PunktfunkSessionInfo info = {.struct_size = sizeof info};
  PunktfunkMode mode = {.struct_size = sizeof mode};
  must("info", punktfunk_session_info(session, &info));
  must("mode", punktfunk_mode(session, &mode));
  printf("session %ux%u@%u %s %u\n", mode.width, mode.height, mode.refresh_millihz,
         info.encoder_name, info.audio_channels);
}

/* A synthetic host's desktop has copied something, and copies what it is given in capitals. */
static void share_clipboard(const PunktfunkSession *session) {
  static const char mine[] = "copied in c";
  static const char theirs[] = "COPIED IN C";
  PunktfunkText text = {.struct_size = sizeof text};
  PunktfunkStatus status = punktfunk_next_clipboard(session, PATIENCE_MS, &text);
  if (status == PUNKTFUNK_STATUS_NO_CLIPBOARD) {
    printf("clipboard none\n");
    return;
  }
  must("next clipboard", status);
  expect("no text", punktfunk_set_clipboard(session, (const uint8_t *)"\xff", 1),
         PUNKTFUNK_STATUS_INVALID_ARGUMENT);
  must("set clipboard",
       punktfunk_set_clipboard(session, (const uint8_t *)mine, sizeof mine - 1));
  do {
    must("next clipboard", punktfunk_next_clipboard(session, PATIENCE_MS, &text));
  } while (text.length != sizeof theirs - 1 || memcmp(text.data, theirs, text.length) != 0);
  printf("clipboard %s\n", theirs);
}

/* Another mode, asked for while pictures come: its first picture is the frame that is announced. */
static void change_mode(const PunktfunkSession *session) {
  PunktfunkMode mode = {.struct_size = sizeof mode};
  PunktfunkUnit unit = {.struct_size = sizeof unit};
  uint32_t request = 0;
  expect("no such mode", punktfunk_request_mode(session, 1, 1, 60000, NULL),
         PUNKTFUNK_STATUS_INVALID_ARGUMENT);
  must("request mode", punktfunk_request_mode(session, 640, 360, 30000, &request));
  do {
    must("next unit", punktfunk_next_unit(session, PATIENCE_MS, &unit));
    must("mode", punktfunk_mode(session, &mode));
  } while (mode.request < request || unit.frame < mode.first_frame);
  if (mode.outcome != PUNKTFUNK_MODE_GRANTED) {
    fail("the mode was not granted", PUNKTFUNK_STATUS_OK);
  }
  printf("mode %ux%u@%u\n", mode.width, mode.height, mode.refresh_millihz);
}

static void stream(PunktfunkSession *session, unsigned frames, FILE *out) {
  struct client client = {.session = session, .frames_wanted = frames, .out = out,
                          .lock = PTHREAD_MUTEX_INITIALIZER,
                          .rumbled = PTHREAD_COND_INITIALIZER};
  PunktfunkStatistics statistics = {.struct_size = sizeof statistics};
  PunktfunkUnit unit = {.struct_size = sizeof unit};
  PunktfunkStatus status;
  pthread_t threads[3];
  pthread_t pads;
  pthread_t voice;
  void *(*const work[3])(void *) = {take_pictures, take_sound, act};

  describe(session);
  pthread_create(&pads, NULL, take_pad_output, &client);
  /* First, or it would take what that thread waits for. */
  wait_until_busy(session);
  pthread_create(&voice, NULL, speak, &client);
  for (int i = 0; i < 3; i++) {
    pthread_create(&threads[i], NULL, work[i], &client);
  }
  for (int i = 0; i < 3; i++) {
    pthread_join(threads[i], NULL);
  }
  /* A synthetic host's controllers rumble as hard as their triggers are pressed. */
  pthread_mutex_lock(&client.lock);
  while (client.rumbles == 0 && !client.pads_done) {
    pthread_cond_wait(&client.rumbled, &client.lock);
  }
  pthread_mutex_unlock(&client.lock);
  follow_the_pointer(session);
  change_mode(session);
  share_clipboard(session);
  must("statistics", punktfunk_statistics(session, &statistics));
  printf("received %u %u %llu\n", client.frames, client.packets,
         (unsigned long long)statistics.frames_lost);
  /* What the test waits for is done: it may look at the host now. */
  fflush(stdout);
  getchar();

  must("end", punktfunk_end(session));
  pthread_join(pads, NULL);
  expect("the waiting thread", client.pads_ended, PUNKTFUNK_STATUS_ENDED);
  pthread_join(voice, NULL);
  if (client.voice_ended != PUNKTFUNK_STATUS_NO_MICROPHONE) {
    expect("the speaking thread", client.voice_ended, PUNKTFUNK_STATUS_ENDED);
  }
  while ((status = punktfunk_next_unit(session, PATIENCE_MS, &unit)) == PUNKTFUNK_STATUS_OK) {
  }
  expect("after the end", status, PUNKTFUNK_STATUS_ENDED);
  expect("after the end", punktfunk_send_key(session, 'A', 0), PUNKTFUNK_STATUS_ENDED);
  must("close", punktfunk_close(session));
}

/* A session may be closed while other threads wait in it. */
static void close_under_a_waiting_thread(const PunktfunkConnectOptions *options) {
  struct client client = {.lock = PTHREAD_MUTEX_INITIALIZER,
                          .rumbled = PTHREAD_COND_INITIALIZER};
  pthread_t pads;
  must("connect again", punktfunk_connect(options, NULL, &client.session));
  pthread_create(&pads, NULL, take_pad_output, &client);
  wait_until_busy(client.session);
  must("close", punktfunk_close(client.session));
  pthread_join(pads, NULL);
  expect("the waiting thread", client.pads_ended, PUNKTFUNK_STATUS_ENDED);
}

int main(int count, char **arguments) {
  uint8_t fingerprint[PUNKTFUNK_FINGERPRINT_BYTES];
  if (count != 6 || !read_fingerprint(arguments[2], fingerprint)) {
    fprintf(stderr, "usage: session HOST[:PORT] FINGERPRINT FRAMES frames|slices OUT.h264\n");
    return 2;
  }
  if (punktfunk_abi_version() < PUNKTFUNK_ABI_VERSION) {
    fprintf(stderr, "the library is older than its header\n");
    return 1;
  }
  PunktfunkIdentity *identity = identity_by_way_of_pem();
  PunktfunkConnectOptions options = {
      .struct_size = sizeof options,
      .host = arguments[1],
      .identity = identity,
      .name = "session.c",
      .trust = PUNKTFUNK_TRUST_ASK,
      .width = 320,
      .height = 240,
      .refresh_millihz = 30000,
      .bitrate = 4000000,
      .flags = PUNKTFUNK_CONNECT_CLIPBOARD | PUNKTFUNK_CONNECT_CURSOR |
               PUNKTFUNK_CONNECT_MICROPHONE,
      .audio_channels = 2,
      .timeout_ms = PATIENCE_MS,
      .ask = compare,
      .ask_user = fingerprint,
  };
  PunktfunkConnectResult result = {.struct_size = sizeof result};
  PunktfunkSession *session = NULL;
  FILE *out = fopen(arguments[5], "wb");
  if (out == NULL) {
    perror(arguments[5]);
    return 1;
  }
  if (strcmp(arguments[4], "slices") == 0) {
    options.granularity = PUNKTFUNK_GRANULARITY_SLICES;
  }
  attempt_in_vain(options, fingerprint);
  must("connect", punktfunk_connect(&options, &result, &session));
  stream(session, (unsigned)atoi(arguments[3]), out);
  close_under_a_waiting_thread(&options);
  punktfunk_identity_free(identity);
  return fclose(out) == 0 ? 0 : 1;
}
