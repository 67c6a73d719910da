import { Client } from "bitbend/client";

import { api } from "../bitbend/_generated/api";

const CHANNELS = ["general", "random"];

const client = new Client(location.origin);
const element = (id) => document.getElementById(id);
let stopMessages = () => {};
let current = null; // the channel that is shown

client.onConnectionState(showConnection);
showConnection(client.connectionState());
client.onUpdate(api.channels.list, {}, showChannels, showTrouble);
for (const name of CHANNELS) client.mutation(api.channels.open, { name }).catch(showTrouble);

element("author").value = localStorage.getItem("author") ?? "";
element("compose").addEventListener("submit", async (event) => {
  event.preventDefault();
  const author = element("author").value.trim();
  const body = element("body").value;
  if (current === null || author === "" || body.trim() === "") return;
  localStorage.setItem("author", author);
  element("body").value = "";
  try {
    await client.mutation(api.messages.send, { channel: current._id, author, body });
    element("trouble").hidden = true;
  } catch (error) {
    element("body").value = body;
    showTrouble(error);
  }
});

function showChannels(channels) {
  element("channels").replaceChildren(
    ...channels.map((channel) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = `# ${channel.name}`;
      button.addEventListener("click", () => openChannel(channel));
      button.dataset.channel = channel.name;
      return button;
    }),
  );
  const wanted = location.hash.slice(1) || CHANNELS[0];
  if (current === null && channels.length > 0) openChannel(channels.find(({ name }) => name === wanted) ?? channels[0]);
  markCurrent();
}

function openChannel(channel) {
  if (current?._id === channel._id) return;
  stopMessages();
  current = channel;
  location.hash = channel.name;
  element("title").textContent = `# ${channel.name}`;
  element("messages").replaceChildren();
  stopMessages = client.onUpdate(api.messages.list, { channel: channel._id }, showMessages, showTrouble);
  markCurrent();
}

function markCurrent() {
  for (const button of element("channels").children) {
    button.setAttribute("aria-current", String(button.dataset.channel === current?.name));
  }
}

function showMessages(messages) {
  const list = element("messages");
  const rows = messages.toReversed().map((message) => {
    const row = document.createElement("li");
    const author = document.createElement("b");
    const time = document.createElement("time");
    const body = document.createElement("div");
    author.textContent = message.author;
    time.textContent = new Date(message._creationTime).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    body.textContent = message.body;
    row.append(author, time, body);
    return row;
  });
  if (rows.length === 0) {
    const row = document.createElement("li");
    row.className = "empty";
    row.textContent = "Nobody has written here yet.";
    rows.push(row);
  }
  list.replaceChildren(...rows);
  list.scrollTop = list.scrollHeight;
}

function showConnection(state) {
  element("connection").dataset.state = state;
  element("connection").textContent = state;
}

function showTrouble(error) {
  element("trouble").textContent = error.data?.code === "tooLong" ? `A message has at most ${error.data.max} characters.` : error.message;
  element("trouble").hidden = false;
}
