//! The description of the API (OpenAPI 3.1), made of the table that it is served by.

use serde_json::{Map, Value, json};

use super::fields::Field;
use super::routes::{CSRF, Method, ROUTES, Route, Scope};

/// Describes the API.
pub fn description() -> Value {
    let mut paths = Map::new();
    for route in ROUTES.iter().filter(|route| route.is_api()) {
        let entry = paths.entry(route.path).or_insert_with(|| json!({}));
        entry[route.method.as_str().to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "wgrelay", "version": "1",
            "description": "Answers are what the program prints with --json. A change with dry_run returns what it would do, and the \
                            pairs that it opens and closes, and changes nothing."
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "`wgrelay web token add NAME` makes one."},
                "session": {"type": "apiKey", "in": "cookie", "name": "wgrelay", "description": "Whoever signed in on the page."}
            },
            "schemas": {
                "Refused": {
                    "type": "object", "required": ["version", "error", "problems"],
                    "properties": {
                        "version": {"const": 1},
                        "error": {
                            "type": "object", "required": ["message", "hint"],
                            "properties": {"message": {"type": "string"}, "hint": {"type": "string"}}
                        },
                        "problems": {"type": "array", "items": {"type": "object"}}
                    }
                }
            }
        }
    })
}

fn operation(route: &Route) -> Value {
    let in_query = matches!(route.method, Method::Get | Method::Delete);
    let mut parameters: Vec<Value> = route
        .placeholders()
        .map(|name| {
            let pattern = if name == "revision" { "^[0-9]+$" } else { "^[A-Za-z0-9_.-]{1,64}$" };
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "pattern": pattern}})
        })
        .collect();
    if in_query {
        parameters.extend(route.takes.iter().map(|field| {
            json!({"name": field.name, "in": "query", "required": field.required, "schema": field.schema()})
        }));
    }
    if route.takes.iter().any(|field| field.name == "dry_run") {
        parameters.push(json!({
            "name": "If-Match", "in": "header", "required": false, "schema": {"type": "string"},
            "description": "The ETag of the network.toml that the change is meant for; 412 where there is another by now."
        }));
    }
    let refused = json!({"description": "Refused", "content": content(&json!({"$ref": "#/components/schemas/Refused"}))});
    let mut operation = json!({
        "summary": route.summary,
        "description": format!("Scope: {}.", scope(route.scope)),
        "parameters": parameters,
        "responses": {
            "200": {"description": "Done", "content": content(&json!({"type": "object"}))},
            "default": refused,
        },
    });
    operation["security"] = match route.scope {
        Scope::Public => json!([]),
        Scope::Own | Scope::Device | Scope::DeviceKeys => json!([{"session": []}]),
        _ => json!([{"token": []}]),
    };
    if !in_query && !route.takes.is_empty() {
        let fields = route.takes.iter().filter(|field| field.name != CSRF.name);
        let properties: Map<String, Value> =
            fields.clone().map(|f| (f.name.to_owned(), f.schema())).collect();
        let required: Vec<&str> = fields.filter(|f| f.required).map(|f: &Field| f.name).collect();
        let schema = json!({
            "type": "object", "additionalProperties": false, "properties": properties, "required": required,
        });
        operation["requestBody"] = json!({"required": !required.is_empty(), "content": content(&schema)});
    }
    operation
}

fn content(schema: &Value) -> Value {
    json!({"application/json": {"schema": schema}})
}

const fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Public => "none",
        Scope::Own => "whoever signed in",
        Scope::Device => "whose device it is, signed in",
        Scope::DeviceKeys => "whose device it is, signed in, once the password was typed again",
        Scope::Read => "read",
        Scope::Operate => "operate",
        Scope::Keys => "keys; a session that typed its password within five minutes",
        Scope::Admin => "admin; no token",
    }
}
