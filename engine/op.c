/*
 * Names operations and writes their journal rows. What the steps do is the
 * verbs' affair; what a dead operation left behind is recover's.
 */
#include "engine/op.h"

#include "chains/transaction.h"
#include "engine/error.h"

#include <string.h>
#include <unistd.h>

#define PREFIX_DIGITS 16
/* The step that a watchdog begins for a parent that hangs. */
#define OVERTAKEN "overtaken"

static char *
prefix_of (const char *id)
{
  g_auto (GStrv) groups = g_strsplit (id, "-", -1);
  g_autofree char *digits = g_strjoinv ("", groups);

  return g_strdup_printf (ENGINE_OP_PREFIX "%.*s-", PREFIX_DIGITS, digits);
}

EngineOp *
engine_op_new (EngineVm *vm)
{
  g_autofree char *id = g_uuid_string_random ();

  return engine_op_new_of (vm, id);
}

EngineOp *
engine_op_new_of (EngineVm *vm, const char *id)
{
  EngineOp *op = g_new0 (EngineOp, 1);

  op->vm = vm;
  op->id = g_strdup (id);
  op->prefix = prefix_of (id);
  return op;
}

void
engine_op_free (EngineOp *op)
{
  if (op == NULL)
    return;
  g_free (op->id);
  g_free (op->prefix);
  g_free (op);
}

char *
engine_op_name (const EngineOp *op, guint index, const char *suffix)
{
  return g_strdup_printf ("%s%u%s", op->prefix, index, suffix);
}

char *
engine_op_name_of (const char *id, guint index, const char *suffix)
{
  g_autofree char *prefix = prefix_of (id);

  return g_strdup_printf ("%s%u%s", prefix, index, suffix);
}

gboolean
engine_op_is_ours (const char *name)
{
  const char *digits = name + strlen (ENGINE_OP_PREFIX);

  return g_str_has_prefix (name, ENGINE_OP_PREFIX) && strspn (digits, "0123456789abcdef") == PREFIX_DIGITS &&
         digits[PREFIX_DIGITS] == '-';
}

gboolean
engine_op_is_of (const char *id, const char *name)
{
  g_autofree char *prefix = prefix_of (id);

  return g_str_has_prefix (name, prefix);
}

static char *
boot_id (void)
{
  char *text = NULL;

  if (!g_file_get_contents ("/proc/sys/kernel/random/boot_id", &text, NULL, NULL))
    return NULL;
  return g_strchomp (text);
}

static char *
to_text (JsonObject *object)
{
  g_autoptr (JsonNode) node = json_node_init_object (json_node_alloc (), object);

  return json_to_string (node, FALSE);
}

gboolean
engine_op_is_overtaken (EngineContext *context, const char *op, gboolean *overtaken, GError **error)
{
  return engine_op_find_step (context, op, OVERTAKEN, overtaken, NULL, error);
}

ChainsOp *
engine_op_get (EngineContext *context, const char *id, GError **error)
{
  return chains_journal_get (context->db, id, error);
}

gboolean
engine_op_own (EngineOp *op, GError **error)
{
  EngineContext *context = op->vm->context;
  gboolean overtaken;

  if (!engine_op_is_overtaken (context, op->id, &overtaken, error))
    return FALSE;
  /* By the process before this one: then nothing tells whether it is so again. */
  if (overtaken)
    return TRUE;
  g_free (context->op);
  context->op = g_strdup (op->id);
  return TRUE;
}

gboolean
engine_op_begin (EngineOp *op, const char *verb, JsonObject *intent, GError **error)
{
  g_autoptr (ChainsOp) row = chains_op_new ();

  row->id = g_strdup (op->id);
  row->vm = op->vm->record->id;
  row->vm_name = g_strdup (op->vm->record->name);
  row->verb = g_strdup (verb);
  row->by = g_strdup (g_get_user_name ());
  row->pid = getpid ();
  row->boot = boot_id ();
  row->started_us = g_get_real_time ();
  row->state = CHAINS_OP_OPEN;
  row->intent = to_text (intent);
  return chains_journal_begin (op->vm->context->db, row, error) && engine_op_own (op, error);
}

gboolean
engine_op_step (EngineOp *op, const char *step, GError **error)
{
  return chains_journal_begin_step_unsynced (op->vm->context->db, op->id, step, NULL, error);
}

/* Asked inside the transaction that decides something, so that one of the two comes first. */
static gboolean
refuse_overtaken (EngineContext *context, const char *op, GError **error)
{
  gboolean begun_here = g_strcmp0 (context->op, op) == 0, overtaken;

  if (!begun_here)
    return TRUE;
  if (!engine_op_is_overtaken (context, op, &overtaken, error))
    return FALSE;
  if (overtaken)
    engine_error_set (error, ENGINE_ERROR_INTERRUPTED, NULL,
                      "it stood still for so long that the process that stands by went on in its place");
  return !overtaken;
}

gboolean
engine_op_step_durable (EngineOp *op, const char *step, JsonObject *detail, GError **error)
{
  g_autofree char *text = detail != NULL ? to_text (detail) : NULL;
  g_autoptr (ChainsTransaction) transaction = chains_transaction_join (op->vm->context->db, CHAINS_DB_WRITE, error);

  return transaction != NULL && refuse_overtaken (op->vm->context, op->id, error) &&
         chains_journal_begin_step (op->vm->context->db, op->id, step, text, error) &&
         chains_transaction_commit (transaction, error);
}

static JsonObject *
parse_detail (const char *text)
{
  g_autoptr (JsonNode) root = text != NULL ? json_from_string (text, NULL) : NULL;

  return root != NULL && JSON_NODE_HOLDS_OBJECT (root) ? json_node_dup_object (root) : NULL;
}

gboolean
engine_op_find_step (EngineContext *context, const char *op, const char *name, gboolean *begun, JsonObject **detail,
                     GError **error)
{
  g_autoptr (GPtrArray) steps = chains_journal_list_steps (context->db, op, error);
  const ChainsStep *found = NULL;

  for (guint i = 0; steps != NULL && i < steps->len; i++) {
    const ChainsStep *step = g_ptr_array_index (steps, i);

    if (g_str_equal (step->name, name))
      found = step;
  }
  if (steps == NULL)
    return FALSE;
  *begun = found != NULL;
  if (detail != NULL)
    *detail = found != NULL ? parse_detail (found->detail) : NULL;
  return TRUE;
}

gboolean
engine_op_overtake (EngineVm *vm, GError **error)
{
  g_autoptr (GPtrArray) ops = chains_journal_list_unfinished (vm->context->db, vm->record->id, error);

  for (guint i = 0; ops != NULL && i < ops->len; i++) {
    const ChainsOp *op = g_ptr_array_index (ops, i);

    if (op->state == CHAINS_OP_OPEN && !chains_journal_begin_step (vm->context->db, op->id, OVERTAKEN, NULL, error))
      return FALSE;
  }
  return ops != NULL;
}

gboolean
engine_op_is_of_this_boot (const ChainsOp *op)
{
  g_autofree char *boot = boot_id ();

  return g_strcmp0 (op->boot, boot) == 0;
}

gboolean
engine_op_check_finished (EngineVm *vm, GError **error)
{
  g_autoptr (GPtrArray) unfinished = chains_journal_list_unfinished (vm->context->db, vm->record->id, error);
  const ChainsOp *op;
  g_autoptr (GDateTime) since = NULL;
  g_autofree char *hint = NULL;
  g_autofree char *time = NULL;

  if (unfinished == NULL || unfinished->len == 0)
    return unfinished != NULL;
  op = g_ptr_array_index (unfinished, 0);
  if (op->state == CHAINS_OP_DETACHED)
    hint = g_strdup_printf (
        "`chainctl job wait %s %.8s` goes on with it, `chainctl job complete %s %.8s` or `chainctl job "
        "cancel %s %.8s` ends it",
        vm->record->name, op->id, vm->record->name, op->id, vm->record->name, op->id);
  since = g_date_time_new_from_unix_local (op->started_us / G_USEC_PER_SEC);
  time = since != NULL ? g_date_time_format (since, "%F %T %z") : NULL;
  engine_error_set (error, ENGINE_ERROR_HELD, hint != NULL ? hint : "end it first: `chainctl recover`",
                    "VM '%s' is held by the %s operation %s of %s, since %s", vm->record->name, op->verb, op->id,
                    op->by, time != NULL ? time : "?");
  return FALSE;
}
