/*
 * Looks for QEMUs in /proc and at sockets. Only looks: what it may disturb (a
 * monitor that is registered, or that does not answer at once) is told from the
 * command line alone, and a session that it opens is closed at once.
 */
#include "engine/discover.h"

#include "chains/registry.h"
#include "engine/address.h"
#include "engine/commandline.h"
#include "engine/imagefile.h"
#include "engine/libvirt.h"
#include "engine/nodeoptions.h"
#include "engine/process.h"
#include "qmp/error.h"
#include "qmp/transport.h"

#include <string.h>
#include <sys/stat.h>

#define NAME_MAX_LENGTH 60
/* Whoever is free greets at once; who is not is left alone. */
#define PATIENCE_US (1 * G_USEC_PER_SEC)

/**
 * Candidate: one socket at which a QMP monitor may be
 * @pid: 0 where only the socket is known
 * @seen: only as a socket in a folder: it is a monitor if it answers like one
 * @registered: (nullable): borrowed
 * @stream, @greeting: while it is asked
 */
typedef struct {
  pid_t pid;
  gboolean seen;
  char *name;
  char *uuid;
  char *qmp;
  char *agent;
  gboolean libvirt;
  const ChainsVm *registered;
  QmpClient *monitor;
  QmpCall *greeting;
  gboolean answered;
  char *status;
} Candidate;

/**
 * Search:
 * @known: (element-type utf8): sockets that the command lines name, monitors or not
 * @pids: of the QEMUs whose monitors are known from their command lines, as pointers
 */
typedef struct {
  EngineContext *context;
  GPtrArray *vms;
  GPtrArray *candidates;
  GHashTable *known;
  GHashTable *pids;
} Search;

static void
candidate_free (Candidate *candidate)
{
  g_clear_pointer (&candidate->greeting, qmp_call_abandon);
  g_clear_pointer (&candidate->monitor, qmp_client_free);
  g_free (candidate->name);
  g_free (candidate->uuid);
  g_free (candidate->qmp);
  g_free (candidate->agent);
  g_free (candidate->status);
  g_free (candidate);
}

static void
search_clear (Search *search)
{
  g_clear_pointer (&search->candidates, g_ptr_array_unref);
  g_clear_pointer (&search->vms, g_ptr_array_unref);
  g_clear_pointer (&search->known, g_hash_table_unref);
  g_clear_pointer (&search->pids, g_hash_table_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Search, search_clear)

static void
discovered_free (EngineDiscovered *discovered)
{
  engine_vmview_free (discovered->view);
  g_free (discovered->registered);
  g_free (discovered->suggestion);
  g_free (discovered);
}

/* ---- sockets ---- */

static gboolean
is_socket (const char *path)
{
  struct stat st;

  return stat (path, &st) == 0 && S_ISSOCK (st.st_mode);
}

static gboolean
is_same_socket (const char *one, const char *other)
{
  EngineImagefile a, b;

  if (g_str_equal (one, other))
    return TRUE;
  return engine_imagefile_stat (one, &a, NULL) && engine_imagefile_stat (other, &b, NULL) && a.device == b.device &&
         a.inode == b.inode;
}

static gboolean
is_at (const char *address, const char *path)
{
  const char *own = address != NULL ? engine_address_path (address) : NULL;

  return own != NULL && is_same_socket (own, path);
}

static const ChainsVm *
find_registered (const Search *search, const char *path)
{
  for (guint i = 0; i < search->vms->len; i++) {
    const ChainsVm *vm = g_ptr_array_index (search->vms, i);

    if (is_at (vm->qmp, path))
      return vm;
  }
  return NULL;
}

/* ---- processes ---- */

/* A path as the process @pid means it, %NULL where its working folder cannot be seen. */
static char *
resolve (pid_t pid, const char *path)
{
  g_autofree char *link = g_strdup_printf ("/proc/%ld/cwd", (long)pid);
  g_autofree char *folder = g_path_is_absolute (path) ? g_strdup ("/") : g_file_read_link (link, NULL);

  return folder != NULL ? g_canonicalize_filename (path, folder) : NULL;
}

static const char *
shown_name (const EngineCommandline *line)
{
  return line->name != NULL ? line->name : line->daemon ? "qemu-storage-daemon" : "QEMU";
}

/* Whether the socket's folder is the same here as there; where it is not, nothing can be done from here. */
static gboolean
is_visible (Search *search, pid_t pid, const EngineCommandline *line, const char *path)
{
  g_autoptr (EngineProcess) process = engine_process_read (pid);
  g_autofree char *folder = g_path_get_dirname (path);
  g_autofree char *shown = g_filename_display_name (path);

  if (process != NULL && engine_process_sees (process, folder) == ENGINE_PROCESS_NO)
    engine_context_warn (search->context, "another-namespace",
                         "%s (process %ld) has its monitor at '%s' in another root or mount namespace: it is not to be "
                         "reached from here",
                         shown_name (line), (long)pid, shown);
  else if (!is_socket (path))
    engine_context_warn (search->context, "no-socket", "%s (process %ld): its monitor's socket '%s' is not there",
                         shown_name (line), (long)pid, shown);
  else
    return TRUE;
  return FALSE;
}

/* What the command line of @pid tells of a VM. */
static void
describe (Candidate *candidate, pid_t pid, const EngineCommandline *line)
{
  g_autofree char *agent = line->agent != NULL ? resolve (pid, line->agent) : NULL;

  candidate->pid = pid;
  candidate->name = g_strdup (line->name);
  candidate->uuid = g_strdup (line->uuid);
  candidate->agent = agent != NULL ? g_strconcat ("unix:", agent, NULL) : NULL;
}

/* Returns: (transfer full) (nullable): %NULL where @pid is no QEMU */
static EngineCommandline *
read_commandline (pid_t pid, gboolean *libvirt)
{
  g_autofree char *link = g_strdup_printf ("/proc/%ld/exe", (long)pid);
  g_autofree char *program = g_file_read_link (link, NULL);
  g_auto (GStrv) arguments = engine_nodeoptions_read_arguments (pid);
  EngineCommandline *line = engine_commandline_parse (program, arguments);

  *libvirt = line != NULL && engine_libvirt_has_arguments (arguments);
  return line;
}

static void
add_monitor (Search *search, pid_t pid, const EngineCommandline *line, const char *path, gboolean libvirt)
{
  g_autofree char *qmp = resolve (pid, path);
  Candidate *candidate;

  if (qmp == NULL) {
    engine_context_warn (search->context, "relative-path",
                         "%s (process %ld): its monitor's socket is relative to a folder that cannot be seen",
                         shown_name (line), (long)pid);
    return;
  }
  if (!is_visible (search, pid, line, qmp))
    return;
  candidate = g_new0 (Candidate, 1);
  describe (candidate, pid, line);
  g_hash_table_add (search->pids, GSIZE_TO_POINTER ((gsize)pid));
  candidate->libvirt = libvirt || engine_libvirt_has_monitor (qmp);
  candidate->registered = find_registered (search, qmp);
  candidate->qmp = g_steal_pointer (&qmp);
  g_ptr_array_add (search->candidates, candidate);
}

static void
look_at_process (Search *search, pid_t pid)
{
  gboolean libvirt;
  g_autoptr (EngineCommandline) line = read_commandline (pid, &libvirt);

  if (line == NULL)
    return;
  for (guint i = 0; i < line->sockets->len; i++) {
    char *path = resolve (pid, g_ptr_array_index (line->sockets, i));

    if (path != NULL)
      g_hash_table_add (search->known, path);
  }
  for (guint i = 0; i < line->monitors->len; i++) {
    const EngineCommandlineMonitor *monitor = g_ptr_array_index (line->monitors, i);

    if (monitor->kind == ENGINE_COMMANDLINE_SOCKET)
      add_monitor (search, pid, line, monitor->path, libvirt);
  }
}

static void
look_at_processes (Search *search)
{
  g_autoptr (GDir) dir = g_dir_open ("/proc", 0, NULL);
  const char *name;
  guint64 pid;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL)
    if (g_ascii_string_to_unsigned (name, 10, 1, G_MAXINT32, &pid, NULL))
      look_at_process (search, (pid_t)pid);
}

/* ---- folders ---- */

static gboolean
is_known (const Search *search, const char *path)
{
  GHashTableIter iter;
  gpointer known;

  g_hash_table_iter_init (&iter, search->known);
  while (g_hash_table_iter_next (&iter, &known, NULL))
    if (is_same_socket (known, path))
      return TRUE;
  for (guint i = 0; i < search->vms->len; i++) {
    const ChainsVm *vm = g_ptr_array_index (search->vms, i);

    if (is_at (vm->qmp, path) || is_at (vm->agent, path) || is_at (vm->guest, path))
      return TRUE;
  }
  return FALSE;
}

static void
look_at_folder (Search *search, const char *folder)
{
  g_autofree char *absolute = g_canonicalize_filename (folder, NULL);
  g_autoptr (GError) failure = NULL;
  g_autoptr (GDir) dir = g_dir_open (absolute, 0, &failure);
  const char *name;

  if (dir == NULL)
    engine_context_warn (search->context, "folder-unreadable", "%s", failure->message);
  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *path = g_build_filename (absolute, name, NULL);
    Candidate *candidate;

    if (!is_socket (path) || is_known (search, path))
      continue;
    candidate = g_new0 (Candidate, 1);
    candidate->seen = TRUE;
    candidate->libvirt = engine_libvirt_has_monitor (path);
    candidate->qmp = g_steal_pointer (&path);
    g_ptr_array_add (search->candidates, candidate);
  }
}

/* ---- asked ---- */

static gint64
deadline_of (const Search *search)
{
  return g_get_monotonic_time () + MIN (search->context->timeout_us, PATIENCE_US);
}

/* Who listens at a socket that was only seen in a folder. %FALSE where it is another name of one that is known. */
static gboolean
identify (Search *search, Candidate *candidate, pid_t peer)
{
  gboolean libvirt;
  g_autoptr (EngineCommandline) line = NULL;

  if (candidate->pid != 0)
    return TRUE;
  if (g_hash_table_contains (search->pids, GSIZE_TO_POINTER ((gsize)peer)))
    return FALSE;
  line = peer != 0 ? read_commandline (peer, &libvirt) : NULL;
  if (line == NULL)
    return TRUE;
  describe (candidate, peer, line);
  candidate->libvirt = candidate->libvirt || libvirt;
  return TRUE;
}

static void
start_asking (Search *search, Candidate *candidate)
{
  gint64 deadline_us = deadline_of (search);
  g_autofree char *address = g_strconcat ("unix:", candidate->qmp, NULL);
  g_autoptr (GIOStream) io = NULL;

  if (candidate->registered != NULL || candidate->libvirt)
    return;
  io = qmp_transport_connect (address, deadline_us, search->context->cancellable, NULL);
  if (io == NULL || !identify (search, candidate, qmp_transport_get_peer_pid (io)))
    return;
  candidate->monitor = qmp_client_new (g_steal_pointer (&io));
  candidate->greeting = qmp_client_start_handshake (candidate->monitor, deadline_us);
}

static void
finish_asking (Search *search, Candidate *candidate)
{
  QmpWait wait = {deadline_of (search), search->context->cancellable};
  g_autoptr (JsonNode) greeting = NULL;
  QmpCall *status, *uuid;
  char *known;

  if (candidate->greeting == NULL)
    return;
  greeting = qmp_call_finish (g_steal_pointer (&candidate->greeting), search->context->cancellable, NULL);
  candidate->answered = greeting != NULL;
  if (candidate->answered) {
    /* A storage daemon knows neither question. */
    status = qmp_commands_start_query_status (candidate->monitor, wait.deadline_us);
    uuid = qmp_commands_start_query_uuid (candidate->monitor, wait.deadline_us);
    candidate->status = qmp_commands_finish_query_status (status, wait.cancellable, NULL);
    known = qmp_commands_finish_query_uuid (uuid, wait.cancellable, NULL);
    g_free (known != NULL ? candidate->uuid : NULL);
    candidate->uuid = known != NULL ? known : candidate->uuid;
  }
  g_clear_pointer (&candidate->monitor, qmp_client_free);
}

static gboolean
ask (Search *search, GError **error)
{
  for (guint i = 0; i < search->candidates->len; i++)
    start_asking (search, g_ptr_array_index (search->candidates, i));
  for (guint i = 0; i < search->candidates->len; i++)
    finish_asking (search, g_ptr_array_index (search->candidates, i));
  return !g_cancellable_set_error_if_cancelled (search->context->cancellable, error);
}

/* ---- told ---- */

/* A QEMU may have several monitors: the registered one is meant, else one that is free, else the first. */
static gboolean
is_better (const Candidate *one, const Candidate *other)
{
  if ((one->registered != NULL) != (other->registered != NULL))
    return one->registered != NULL;
  return one->answered && !other->answered;
}

static gboolean
is_chosen (const Search *search, guint index)
{
  const Candidate *candidate = g_ptr_array_index (search->candidates, index);

  if (candidate->seen && !candidate->answered)
    return FALSE;
  if (candidate->pid == 0)
    return TRUE;
  for (guint i = 0; i < search->candidates->len; i++) {
    const Candidate *other = g_ptr_array_index (search->candidates, i);

    if (i != index && other->pid == candidate->pid &&
        (is_better (other, candidate) || (i < index && !is_better (candidate, other))))
      return FALSE;
  }
  return TRUE;
}

/* @text with what no name may have made a dash; "vm" where nothing is left. */
static char *
make_name (const char *text)
{
  g_autoptr (GString) name = g_string_new (NULL);

  for (const char *at = text; *at != '\0' && name->len < NAME_MAX_LENGTH; at++) {
    gboolean letter = g_ascii_isalnum (*at);

    if (letter || (name->len > 0 && strchr ("._-", *at) != NULL))
      g_string_append_c (name, *at);
    else if (name->len > 0)
      g_string_append_c (name, '-');
  }
  if (!chains_model_check_name ("VM", name->str, NULL))
    g_string_assign (name, "vm");
  return g_string_free (g_steal_pointer (&name), FALSE);
}

static gboolean
is_taken (const Search *search, const GPtrArray *found, const char *name)
{
  for (guint i = 0; i < search->vms->len; i++)
    if (g_str_equal (((const ChainsVm *)g_ptr_array_index (search->vms, i))->name, name))
      return TRUE;
  for (guint i = 0; i < found->len; i++)
    if (g_strcmp0 (((const EngineDiscovered *)g_ptr_array_index (found, i))->suggestion, name) == 0)
      return TRUE;
  return FALSE;
}

/* The name itself, with -2 … where taken. */
static void
suggest_names (const Search *search, const GPtrArray *found)
{
  for (guint i = 0; i < found->len; i++) {
    EngineDiscovered *discovered = g_ptr_array_index (found, i);
    g_autofree char *made = make_name (discovered->view->record->name);
    char *suggestion = g_strdup (made);

    for (int j = 2; is_taken (search, found, suggestion); j++) {
      g_free (suggestion);
      suggestion = g_strdup_printf ("%s-%d", made, j);
    }
    discovered->suggestion = suggestion;
  }
}

/* "web" of /run/web.qmp, and of /srv/web/qmp.sock: a file that only says what it is leaves the name to its folder. */
static char *
name_of_socket (const char *path)
{
  static const char *const any_monitor[] = {"qmp",         "monitor", "mon",  "qmp-socket",
                                            "qmp-monitor", "socket",  "sock", NULL};
  static const char *const any_folder[] = {"run", "tmp", "qemu", "sockets", "/", NULL};
  g_autofree char *file = g_path_get_basename (path);
  g_autofree char *above = g_path_get_dirname (path);
  g_autofree char *folder = g_path_get_basename (above);
  char *dot = strrchr (file, '.');

  if (dot != NULL && dot != file)
    *dot = '\0';
  return g_strdup (g_strv_contains (any_monitor, file) && !g_strv_contains (any_folder, folder) ? folder : file);
}

static char *
name_of (const Candidate *candidate)
{
  g_autofree char *named = name_of_socket (candidate->qmp);

  if (candidate->name != NULL && *candidate->name != '\0')
    return g_utf8_make_valid (candidate->name, -1);
  if (candidate->registered != NULL)
    return g_strdup (candidate->registered->name);
  return g_utf8_make_valid (named, -1);
}

static EngineVmState
state_of (const Candidate *candidate)
{
  if (candidate->registered == NULL && !candidate->answered && !candidate->libvirt)
    return ENGINE_VM_UNREACHABLE;
  return candidate->status == NULL || g_str_equal (candidate->status, "running") ? ENGINE_VM_RUNNING : ENGINE_VM_PAUSED;
}

static EngineVmView *
view_new (const Candidate *candidate)
{
  EngineVmView *view = g_new0 (EngineVmView, 1);
  const ChainsVm *registered = candidate->registered;

  view->record = chains_vm_new ();
  view->record->name = name_of (candidate);
  view->record->uuid = engine_vm_is_uuid (candidate->uuid) ? g_strdup (candidate->uuid) : NULL;
  view->record->qmp = g_strdup (candidate->qmp);
  view->record->agent = g_strdup (candidate->agent);
  view->record->guest = registered != NULL ? g_strdup (registered->guest) : NULL;
  view->record->quiesce = registered != NULL ? registered->quiesce : CHAINS_QUIESCE_AUTO;
  view->state = state_of (candidate);
  return view;
}

static void
tell (const Candidate *candidate, GPtrArray *found)
{
  EngineDiscovered *discovered = g_new0 (EngineDiscovered, 1);

  discovered->view = view_new (candidate);
  discovered->registered = candidate->registered != NULL ? g_strdup (candidate->registered->name) : NULL;
  discovered->libvirt = candidate->libvirt;
  g_ptr_array_add (found, discovered);
}

static int
compare (gconstpointer a, gconstpointer b)
{
  const EngineDiscovered *one = *(EngineDiscovered *const *)a, *other = *(EngineDiscovered *const *)b;
  int order = strcmp (one->view->record->name, other->view->record->name);

  return order != 0 ? order : strcmp (one->view->record->qmp, other->view->record->qmp);
}

GPtrArray *
engine_discover_run (EngineContext *context, const char *const *folders, GError **error)
{
  g_auto (Search) search = {.context = context};
  g_autoptr (GPtrArray) found = g_ptr_array_new_with_free_func ((GDestroyNotify)discovered_free);

  search.vms = chains_registry_list_vms (context->db, error);
  if (search.vms == NULL)
    return NULL;
  search.candidates = g_ptr_array_new_with_free_func ((GDestroyNotify)candidate_free);
  search.known = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  search.pids = g_hash_table_new (NULL, NULL);
  look_at_processes (&search);
  for (gsize i = 0; folders[i] != NULL; i++)
    look_at_folder (&search, folders[i]);
  if (!ask (&search, error))
    return NULL;
  for (guint i = 0; i < search.candidates->len; i++)
    if (is_chosen (&search, i))
      tell (g_ptr_array_index (search.candidates, i), found);
  g_ptr_array_sort (found, compare);
  suggest_names (&search, found);
  return g_steal_pointer (&found);
}
