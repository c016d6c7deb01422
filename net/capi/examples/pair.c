/* Pairs with a host: its operator opens a window there, and tells the PIN.
 *
 *   pair HOST[:PORT] PIN NAME
 *
 * The host's fingerprint is printed, for the identity that was made here; a program keeps both. The
 * exit status is 0 if host and client know each other now, else the status of punktfunk_pair.
 *
 *   cc -I../include pair.c -lpunktfunk
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include <stdio.h>

#include "punktfunk.h"

int main(int count, char **arguments) {
  PunktfunkIdentity *identity = NULL;
  PunktfunkPairOptions options = {.struct_size = sizeof options};
  PunktfunkPairResult result = {.struct_size = sizeof result};
  PunktfunkStatus status;
  if (count != 4) {
    fprintf(stderr, "usage: %s HOST[:PORT] PIN NAME\n", arguments[0]);
    return 100;
  }
  status = punktfunk_identity_generate(&identity);
  if (status == PUNKTFUNK_STATUS_OK) {
    options.host = arguments[1];
    options.pin = arguments[2];
    options.name = arguments[3];
    options.identity = identity;
    status = punktfunk_pair(&options, &result);
  }
  punktfunk_identity_free(identity);
  if (status != PUNKTFUNK_STATUS_OK) {
    fprintf(stderr, "%u: %s\n", result.refuse_code, punktfunk_last_error());
    return (int)status;
  }
  for (int i = 0; i < PUNKTFUNK_FINGERPRINT_BYTES; i++) {
    printf("%02x", result.fingerprint[i]);
  }
  printf(" %s\n", result.host_name);
  return 0;
}
