// Fetch JSON from the page's server.

// Rejects with one line for say(), also if a proxy answers with an HTML page.
export async function ask(path, options) {
    const response = await fetch(path, options).catch(() => null);
    const answer = await response?.json().catch(() => null);
    if (response?.ok && answer) return answer;
    if (answer?.error) throw new Error(answer.error);
    const isAway = !response || response.status >= 500;
    throw new Error(isAway ? "The server does not answer. Is it still running?" : `${path}: ${response.status}`);
}
