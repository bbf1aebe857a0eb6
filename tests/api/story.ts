// A whole story with the client that openapi-typescript and openapi-fetch make of the document.
import createClient from "openapi-fetch";
import type { components, paths } from "./taskapi.js";

const [baseUrl, ownerPassword, password] = process.argv.slice(2);
type Task = components["schemas"]["Task"];

function clientOf(headers: Record<string, string>) {
  return createClient<paths>({ baseUrl, headers });
}

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`not so: ${what}`);
}

function dataOf<T>(answer: { data?: string | { success: true; data: T }; error?: unknown }): T {
  if (answer.data === undefined || typeof answer.data === "string") throw new Error(JSON.stringify(answer.error));
  return answer.data.data;
}

const owner = clientOf({ "X-Owner-Password": ownerPassword });
const { group } = dataOf(await owner.POST("/groups", { body: { name: "Engineering", admin_id: 1 } }));
const newUser = { full_name: "Ann", email: "ann@example.com", password, group_ids: [group.id] };
const { user } = dataOf(await owner.POST("/users", { body: newUser }));

const ann = clientOf({ Authorization: `Basic ${btoa(`ann@example.com:${password}`)}` });
const me = dataOf(await ann.GET("/users/{user_id}", { params: { path: { user_id: "me" } } }));
check(me.id === user.id, "me is the caller");

const path = { user_id: user.id };
const late = { title: "Late", group_id: group.id, deadline: "2026-01-02" };
const made = dataOf(await ann.POST("/users/{user_id}/tasks", { params: { path }, body: late }));
const task: Task = made.task;
check(task.priority === 2 && task.status === false, "defaults are filled in");

const header = { "Idempotency-Key": "story-1" };
const batch = { action: "create" as const, tasks: [{ title: "Batched", group_id: group.id }] };
const first = dataOf(await ann.POST("/tasks/batch", { params: { header }, body: batch }));
const again = dataOf(await ann.POST("/tasks/batch", { params: { header }, body: batch }));
check(JSON.stringify(first) === JSON.stringify(again), "the second batch gets the first answer");

const query = { overdue: "true" as const, sort: "deadline" as const, limit: 50, total: true };
const page = dataOf(await ann.GET("/users/{user_id}/tasks", { params: { path, query } }));
check(page.tasks.length === 1 && page.tasks[0].id === task.id, "one task is overdue");

const done = await ann.PUT("/users/{user_id}/tasks/{task_id}/done", {
  params: { path: { user_id: user.id, task_id: task.id } },
});
check(dataOf(done).task.status === true, "the task is done");

const refused = await ann.GET("/admin/status");
check(refused.error?.code === "forbidden", "a user does not see the status");

const token = dataOf(await ann.POST("/users/{user_id}/tokens", { params: { path }, body: { name: "Script" } }));
const script = clientOf({ Authorization: `Bearer ${token.secret}` });
check(dataOf(await script.GET("/tasks/stats")).completed_tasks === 1, "a token reads statistics");
console.log("the end");
