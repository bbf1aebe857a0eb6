curl http://localhost:7890/health

curl -H "X-Owner-Password: admin1234" http://localhost:7890/users

curl -u "USER_ID:password" http://localhost:7890/users/USER_ID

curl -u "3:mypassword" http://localhost:7890/users/3

curl -u "user@email.com:password" http://localhost:7890/users/1

curl -u "alice@company.com:alice123" http://localhost:7890/users/3

curl -H "X-Owner-Password: admin1234" http://localhost:7890/users

curl -X POST \
  -H "X-Owner-Password: admin1234" \
  -H "Content-Type: application/json" \
  -d '{
    "full_name": "Alice Admin",
    "email": "alice@company.com",
    "password": "alice123",
    "role": "group_admin",
    "group_ids": [1],
    "work_times": {
      "Monday": 8.0,
      "Tuesday": 8.0,
      "Wednesday": 8.0,
      "Thursday": 8.0,
      "Friday": 8.0
    }
  }' \
  http://localhost:7890/users

curl -u "3:mypassword" http://localhost:7890/users/3

curl -X PUT \
  -u "3:mypassword" \
  -H "Content-Type: application/json" \
  -d '{"full_name": "John Updated"}' \
  http://localhost:7890/users/3

curl -X DELETE \
  -H "X-Owner-Password: admin1234" \
  http://localhost:7890/users/5

curl -H "X-Owner-Password: admin1234" \
  "http://localhost:7890/users/search?q=john"

curl -u "3:mypassword" http://localhost:7890/users/3/worktimes

curl -X PUT \
  -u "3:mypassword" \
  -H "Content-Type: application/json" \
  -d '{
    "work_times": {
      "Monday": 9.0,
      "Tuesday": 9.0,
      "Wednesday": 8.0,
      "Thursday": 8.0,
      "Friday": 6.0
    }
  }' \
  http://localhost:7890/users/3/worktimes

curl -H "X-Owner-Password: admin1234" http://localhost:7890/groups

curl -X POST \
  -H "X-Owner-Password: admin1234" \
  -H "Content-Type: application/json" \
  -d '{
    "name": "Engineering",
    "admin_id": 2
  }' \
  http://localhost:7890/groups

curl -H "X-Owner-Password: admin1234" http://localhost:7890/groups/1

curl -X PUT \
  -H "X-Owner-Password: admin1234" \
  -H "Content-Type: application/json" \
  -d '{"name": "Engineering Team"}' \
  http://localhost:7890/groups/1

curl -X DELETE \
  -H "X-Owner-Password: admin1234" \
  http://localhost:7890/groups/1

curl -H "X-Owner-Password: admin1234" http://localhost:7890/groups/1/users

curl -X POST \
  -H "X-Owner-Password: admin1234" \
  -H "Content-Type: application/json" \
  -d '{"user_id": 3}' \
  http://localhost:7890/groups/1/users

curl -X DELETE \
  -H "X-Owner-Password: admin1234" \
  http://localhost:7890/groups/1/users/3

curl -H "X-Owner-Password: admin1234" http://localhost:7890/groups/1/tasks

curl -H "X-Owner-Password: admin1234" http://localhost:7890/groups/1/stats

curl -u "3:mypassword" http://localhost:7890/users/3/tasks

curl -X POST \
  -u "3:mypassword" \
  -H "Content-Type: application/json" \
  -d '{
    "title": "Implement Login API",
    "priority": 1,
    "deadline": "2025-10-15",
    "information": "Create REST API for authentication",
    "group_id": 1
  }' \
  http://localhost:7890/users/3/tasks

curl -u "3:mypassword" http://localhost:7890/users/3/tasks/1

curl -X PUT \
  -u "3:mypassword" \
  -H "Content-Type: application/json" \
  -d '{
    "priority": 2,
    "information": "Updated: Critical bug"
  }' \
  http://localhost:7890/users/3/tasks/1

curl -X PUT \
  -u "3:mypassword" \
  http://localhost:7890/users/3/tasks/1/done

curl -X DELETE \
  -u "3:mypassword" \
  http://localhost:7890/users/3/tasks/1

curl -H "X-Owner-Password: admin1234" \
  "http://localhost:7890/tasks/search?q=authentication"

curl -H "X-Owner-Password: admin1234" http://localhost:7890/tasks/stats

curl -X POST \
  -H "X-Owner-Password: admin1234" \
  -H "Content-Type: application/json" \
  -d '{
    "task_ids": [1, 2, 3],
    "updates": {"priority": 2},
    "action": "update"
  }' \
  http://localhost:7890/tasks/batch

curl -H "X-Owner-Password: admin1234" \
  "http://localhost:7890/tasks/filter?status=pending&priority=1&group_id=1"

curl -X POST \
  -H "X-Owner-Password: admin1234" \
  "http://localhost:7890/admin/sync?action=force"

curl -X POST \
  -H "X-Owner-Password: admin1234" \
  "http://localhost:7890/admin/sync?action=restore"

curl -X POST \
  -H "X-Owner-Password: admin1234" \
  "http://localhost:7890/admin/sync?action=backup"

curl -H "X-Owner-Password: admin1234" http://localhost:7890/admin/status

curl -H "X-Owner-Password: admin1234" http://localhost:7890/admin/stats

curl http://localhost:7890/health

curl -X POST -H "X-Owner-Password: admin1234" \
  "http://localhost:7890/admin/sync?action=force"

curl -X POST -H "X-Owner-Password: admin1234" \
  "http://localhost:7890/admin/sync?action=restore"

curl -X POST -H "X-Owner-Password: admin1234" \
  "http://localhost:7890/admin/sync?action=backup"

curl -H "X-Owner-Password: admin1234" \
  "http://localhost:7890/admin/status"

curl http://localhost:7890/health

curl -H "X-Owner-Password: admin1234" \
  "http://localhost:7890/admin/status"

curl -H "X-Owner-Password: admin1234" \
  "http://localhost:7890/admin/stats"

curl -H "X-Owner-Password: admin1234" \
  http://localhost:7890/admin/status

curl -X POST -H "X-Owner-Password: admin1234" \
  "http://localhost:7890/admin/sync?action=force"

curl -H "X-Owner-Password: admin1234" \
  http://localhost:7890/users/{id}

curl -H "X-Owner-Password: admin1234" \
  http://localhost:7890/groups/{id}/users

curl -H "X-Owner-Password: admin1234" \
  http://localhost:7890/admin/stats

curl -X POST -H "X-Owner-Password: admin1234" \
  "http://localhost:7890/admin/sync?action=force"

curl -X POST -H "X-Owner-Password: admin1234" \
  "http://localhost:7890/admin/sync?action=restore"
